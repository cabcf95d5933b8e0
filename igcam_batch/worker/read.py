"""Read and decode the images of a shard. A broken one costs itself alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from igcam_batch.images import DecodeError, Recipe, decode
from igcam_batch.sources import SIDES
from igcam_batch.tables import FAILURES, Piece, decoded_schema
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.fetch import fetch, read_uri
from igcam_batch.worker.masks import object_masks


def read_shard(piece: Piece, manifest: pa.Table, recipe: Recipe, max_pixels: int, masks: bool = False) -> DecodedShard:
    """Bring every image of a piece to the model's size.

    Args:
        piece: which images.
        manifest: its images, in the schema of the plan.
        recipe: how an image becomes the model's input.
        max_pixels: larger images become failures.
        masks: whether the outlines of objects are wanted.
    """
    rows = manifest.to_pylist()
    failures = [_failure(row, row["problem"]["stage"], row["problem"]["error"]) for row in rows if row["problem"]]
    images, pixels = [], []
    for row, data in fetch([row for row in rows if not row["problem"]]):
        try:
            if isinstance(data, OSError):
                raise data
            image = decode(data, max_pixels)
            values = recipe.pixels(image)
            objects = _masks(row, image, recipe) if masks else None
        except (OSError, DecodeError) as error:
            stage = "decode" if isinstance(error, DecodeError) else "read"
            failures.append(_failure(row, stage, _said(error)))
            continue
        pixels.append(values)
        boxes = [_carried_along(box, recipe, image.size) for box in row["boxes"] or ()]
        images.append(row | {"width": image.width, "height": image.height, "boxes": boxes, "masks": objects})
    size = recipe.size
    return DecodedShard(
        piece,
        pa.Table.from_pylist(images, schema=decoded_schema(manifest.schema)),
        np.stack(pixels) if pixels else np.empty((0, 3, size, size), dtype=np.uint8),
        pa.Table.from_pylist(failures, schema=FAILURES),
    )


def _masks(row: Mapping[str, Any], image: Image.Image, recipe: Recipe) -> list[dict[str, Any]]:
    segmentation = read_uri(row["mask_uri"]) if row["mask_uri"] else None
    return object_masks(row, segmentation, image.size, recipe)


def _carried_along(box: Mapping[str, Any], recipe: Recipe, image_size: tuple[int, int]) -> dict[str, Any]:
    """A box in pixels of the model's input."""
    sides = recipe.box([box[side] for side in SIDES], image_size)
    return dict(zip(SIDES, sides, strict=True), label=box["label"])


def _said(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _failure(row: Mapping[str, Any], stage: str, error: str) -> dict[str, Any]:
    return {"image_id": row["image_id"], "uri": row["uri"], "stage": stage, "error": error, "attempts": 1}
