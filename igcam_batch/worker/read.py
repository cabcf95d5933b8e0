"""Read and decode the images of a shard. A broken one costs itself alone."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from igcam_batch.images import DecodeError, Recipe, decode
from igcam_batch.sources import SIDES
from igcam_batch.sources.fetch import fetch, read_uri
from igcam_batch.storage import PlaceError
from igcam_batch.tables import FAILURES, Piece, decoded_schema
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.masks import object_masks
from igcam_batch.worker.watchdog import Watchdog


def read_shard(
    piece: Piece,
    manifest: pa.Table,
    recipe: Recipe,
    max_pixels: int,
    masks: bool = False,
    *,
    within: str | None = None,
    root: str | None = None,
    watchdog: Watchdog | None = None,
    as_planned: bool = True,
) -> DecodedShard:
    """Bring every image of a piece to the model's size.

    Args:
        piece: which images.
        manifest: its images, in the schema of the plan.
        recipe: how an image becomes the model's input.
        max_pixels: larger images become failures.
        masks: whether the outlines of objects are wanted.
        within: a directory on disk that links do not lead out of; None: they lead anywhere.
        root: INPUT's directory, which is looked at where a file on disk cannot be read; None: none is.
        as_planned: whether a file that was changed since is a failure.
        watchdog: ends the process where an image takes too long to decode; None: it takes as long as it takes.

    Raises:
        PlaceError: it is not for the images that they cannot be read, see `fetch`.
    """
    rows = manifest.to_pylist()
    first = piece.start
    verdicts = watchdog.verdicts(first, piece.stop) if watchdog else {}
    failures, numbers = [], []
    for number, row in enumerate(rows, first):
        if row["problem"]:
            failures.append(_failure(row, row["problem"]["stage"], row["problem"]["error"]))
        elif number in verdicts:
            failures.append(_failure(row, verdicts[number].stage, verdicts[number].error))
        else:
            numbers.append(number)
    images, pixels = [], []
    bytes_of = fetch([rows[number - first] for number in numbers], within, root, as_planned=as_planned)
    for number, (row, data) in zip(numbers, bytes_of, strict=True):
        try:
            if isinstance(data, OSError):
                raise data
            segmentation = read_uri(row["mask_uri"], within, root) if masks and row["mask_uri"] else None
            with watchdog.over(number) if watchdog else nullcontext():
                image = decode(data, max_pixels)
                values = recipe.pixels(image)
                objects = object_masks(row, segmentation, image.size, recipe) if masks else None
        except PlaceError:
            raise
        except (OSError, DecodeError) as error:
            stage = "decode" if isinstance(error, DecodeError) else "read"
            failures.append(_failure(row, stage, _said(error)))
            continue
        pixels.append(values)
        boxes = [_carried_along(box, recipe, image.size) for box in row["boxes"] or ()]
        images.append(row | {"width": image.width, "height": image.height, "boxes": boxes, "masks": objects})
    if watchdog:
        watchdog.done()
    size = recipe.size
    return DecodedShard(
        piece,
        pa.Table.from_pylist(images, schema=decoded_schema(manifest.schema)),
        np.stack(pixels) if pixels else np.empty((0, 3, size, size), dtype=np.uint8),
        pa.Table.from_pylist(failures, schema=FAILURES),
    )


def _carried_along(box: Mapping[str, Any], recipe: Recipe, image_size: tuple[int, int]) -> dict[str, Any]:
    """A box in pixels of the model's input."""
    sides = recipe.box([box[side] for side in SIDES], image_size)
    return dict(zip(SIDES, sides, strict=True), label=box["label"])


def _said(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _failure(row: Mapping[str, Any], stage: str, error: str) -> dict[str, Any]:
    return {"image_id": row["image_id"], "uri": row["uri"], "stage": stage, "error": error, "attempts": 1}
