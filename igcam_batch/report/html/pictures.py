"""What a page carries of images and maps: small JPEGs, and the maps' own numbers, which the page itself colours."""

import io
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from PIL import Image

from igcam_batch.report.originals import Original

THUMBNAIL = 224  # pixels of a side at most
_QUALITY = 78
_LARGEST_MAP = 56  # of a side; larger maps, as of integrated gradients, are brought to their means


@dataclass(frozen=True)
class Picture:
    """An image as a page shows it.

    Attributes:
        source: a data: URI.
        side: of the model's input, in whose pixels the boxes are.
        boxes: left, top, right, bottom and label of each that has an area.
    """

    source: str
    side: int
    boxes: list[tuple[float, float, float, float, str]]


def picture_of(original: Original) -> Picture:
    """An image as the model saw it, as a JPEG of THUMBNAIL pixels at most."""
    image = Image.fromarray(original.pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=_QUALITY, optimize=True)
    boxes = [
        (*(round(side, 1) for side in (box.left, box.top, box.right, box.bottom)), box.label or "")
        for box in original.boxes
        if box.right > box.left and box.bottom > box.top
    ]
    return Picture(
        "data:image/jpeg;base64," + b64encode(sink.getvalue()).decode(),
        original.pixels.shape[0],
        boxes,  # type: ignore[arg-type]
    )


def map_of(heatmap: np.ndarray) -> dict[str, object]:
    """A map for the page: (u, v), and each value in 0..255 of the highest, in base64."""
    small = _reduced(heatmap.astype(np.float64))
    highest = small.max(initial=0.0)
    levels = np.round(255 * small / highest) if highest > 0 else np.zeros_like(small)
    return {"shape": list(small.shape), "levels": b64encode(levels.astype(np.uint8).tobytes()).decode()}


def _reduced(heatmap: np.ndarray) -> np.ndarray:
    """The means of equal parts, where the map is larger than a page needs."""
    rows, columns = (min(side, _LARGEST_MAP) for side in heatmap.shape)
    if (rows, columns) == heatmap.shape:
        return heatmap
    top, left = (np.arange(count) * side // count for count, side in zip((rows, columns), heatmap.shape, strict=True))
    sums = np.add.reduceat(np.add.reduceat(heatmap, top, axis=0), left, axis=1)
    heights, widths = np.diff(np.append(top, heatmap.shape[0])), np.diff(np.append(left, heatmap.shape[1]))
    return np.asarray(sums / np.outer(heights, widths))
