"""What a page carries of images and maps: small JPEGs, and the maps' own numbers, which the page itself colours."""

import io
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from PIL import Image

from igcam_batch.report.grid import reduced
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
    small = reduced(heatmap.astype(np.float64), _LARGEST_MAP)
    highest = small.max(initial=0.0)
    levels = np.round(255 * small / highest) if highest > 0 else np.zeros_like(small)
    return {"shape": list(small.shape), "levels": b64encode(levels.astype(np.uint8).tobytes()).decode()}
