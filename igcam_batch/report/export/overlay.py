"""A picture of each image × target × method: the image as the model saw it, the map over it, the boxes drawn."""

import io
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw

from igcam_batch.attribution.upsample import upsample
from igcam_batch.report.colours import ColoursName, colour_heatmaps
from igcam_batch.report.export.names import file_name, plain_name
from igcam_batch.report.export.rows import Rows, Run
from igcam_batch.report.export.written import Written
from igcam_batch.report.originals import Original, Originals
from igcam_batch.storage import Store

_OPACITY = 0.5
_QUALITY = 90
_INDEX = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("target", pa.int32(), nullable=False),
        pa.field("target_name", pa.string()),
        pa.field("method", pa.string(), nullable=False),
    ]
)


def write_overlays(
    run: Run, originals: Originals, to: Store, *, size: int | None = None, colours: ColoursName = "inferno"
) -> Written:
    """Write overlays/METHOD/SHARD/NAME-TARGET.jpg for each row, and index.parquet that says which is which.

    The image is what the model saw, not the file's: that is what the map and every metric are about. What a recipe
    cropped away has no map, and a picture that showed it would say that it did not matter.

    Args:
        run: the rows.
        originals: its images. Those that are gone, changed or broken are passed over, and counted.
        to: where to.
        size: side of a picture; None: the model's input.
        colours: of the map.
    """
    written = Written("overlay")
    index = io.BytesIO()
    with pq.ParquetWriter(index, _INDEX, compression="zstd") as writer:
        for rows in run.rows():
            found = _write_shard(rows, originals, to, written, size or originals.recipe.size, colours)
            if found:
                writer.write_table(pa.Table.from_pylist(found, schema=_INDEX))
    to.write("index.parquet", index.getvalue())
    return written


def _write_shard(
    rows: Rows, originals: Originals, to: Store, written: Written, size: int, colours: ColoursName
) -> list[dict[str, object]]:
    planned = originals.of_shard(rows.shard)
    of_images = dict(rows.by_image())
    index: list[dict[str, object]] = []
    for row, original in originals.load(planned[image_id] for image_id in of_images):
        image_id = row["image_id"]
        if not isinstance(original, Original):
            written.missing(image_id, original)
            continue
        for score, heat in of_images[image_id]:
            name = file_name(image_id, f"-{score['target']}.jpg")
            path = PurePosixPath("overlays", plain_name(score["method"]), f"{rows.shard:06d}", name)
            to.write(str(path), _jpeg(overlay(original, heat, size, colours)))
            index.append({"file": str(path)} | {key: score[key] for key in _INDEX.names[1:]})
            written.rows += 1
        written.images += 1
    return index


def overlay(original: Original, heat: np.ndarray, size: int, colours: ColoursName = "inferno") -> Image.Image:
    """(u, v) over the image as the model saw it, `size` pixels a side, half and half, with the boxes in white."""
    image = Image.fromarray(original.pixels).resize((size, size), Image.Resampling.BICUBIC)
    large = upsample(torch.from_numpy(heat.astype(np.float32)), (size, size)).numpy()
    shown = Image.blend(image, Image.fromarray(colour_heatmaps(large, colours)), _OPACITY)
    draw, scale = ImageDraw.Draw(shown), size / len(original.pixels)
    for box in original.boxes:
        left, top, right, bottom = (scale * side for side in (box.left, box.top, box.right, box.bottom))
        if right > left and bottom > top:
            sides = [left, top, max(left, right - 1), max(top, bottom - 1)]  # Pillow draws the last pixel too
            draw.rectangle(sides, outline="black", width=3)
            draw.rectangle(sides, outline="white", width=1)
    return shown


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
