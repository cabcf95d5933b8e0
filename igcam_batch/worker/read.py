"""Read and decode the images of a shard. A broken one costs itself alone."""

import numpy as np
import pyarrow as pa

from igcam_batch.images import DecodeError, Recipe, decode
from igcam_batch.storage import open_store
from igcam_batch.tables import DECODED, FAILURES
from igcam_batch.worker.decoded import DecodedShard


def read_shard(shard: int, manifest: pa.Table, recipe: Recipe, max_pixels: int) -> DecodedShard:
    """Bring every image of a shard to the model's size.

    Args:
        shard: its number in the plan.
        manifest: its images, in the schema MANIFEST.
        recipe: how an image becomes the model's input.
        max_pixels: larger images become failures.
    """
    images, pixels, failures = [], [], []
    for row in manifest.to_pylist():
        try:
            image = decode(_read(row["uri"]), max_pixels)
            values = recipe.pixels(image)
        except (OSError, DecodeError) as error:
            stage = "decode" if isinstance(error, DecodeError) else "read"
            failures.append(_failure(row, stage, error))
            continue
        pixels.append(values)
        boxes = []
        for box in row["boxes"] or ():
            sides = recipe.box([box["left"], box["top"], box["right"], box["bottom"]], image.size)
            boxes.append(dict(zip(("left", "top", "right", "bottom"), sides, strict=True), label=box["label"]))
        images.append(row | {"width": image.width, "height": image.height, "boxes": boxes})
    size = recipe.size
    return DecodedShard(
        shard,
        pa.Table.from_pylist(images, schema=DECODED),
        np.stack(pixels) if pixels else np.empty((0, 3, size, size), dtype=np.uint8),
        pa.Table.from_pylist(failures, schema=FAILURES),
    )


def _read(uri: str) -> bytes:
    directory, _, name = uri.rpartition("/")
    return open_store(directory or "/").read(name)


def _failure(row: dict[str, object], stage: str, error: Exception) -> dict[str, object]:
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return {"image_id": row["image_id"], "uri": row["uri"], "stage": stage, "error": message, "attempts": 1}
