"""The outlines of an image's objects as masks of the model's input: Pascal VOC's PNGs, COCO's segmentations."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from igcam_batch.errors import one_line_with_kind
from igcam_batch.images import DecodeError, Recipe
from igcam_batch.vocabularies import VOC

_FARTHEST = 1 << 17  # pixels from the corner of an image to a point of an outline
_LONGEST = 1 << 21  # pixels once around it

Mask = dict[str, Any]  # label, bits: a row of the column `masks` of DECODED


def object_masks(
    row: Mapping[str, Any], segmentation: bytes | None, size: tuple[int, int], recipe: Recipe
) -> list[Mask]:
    """The union of the outlines of each class in an image, carried through the geometry of its pixels.

    A class counts only where each of its objects has an outline: one that is missing would make those that are there
    look like all of it.

    Args:
        row: of the manifest.
        segmentation: the PNG that `mask_uri` names, if it names one.
        size: (width, height) of the image.
        recipe: how the image becomes the model's input.

    Raises:
        DecodeError: an outline that cannot be read.
    """
    if segmentation is None:
        outlines = _of_coco(row["boxes"] or (), size)
    else:
        outlines = _of_voc(segmentation, row["labels"], size)
    return [{"label": label, "bits": pack(recipe.mask(mask))} for label, mask in outlines.items()]


def pack(mask: np.ndarray) -> bytes:
    """A bool mask, a bit for each pixel."""
    return np.packbits(mask).tobytes()


def unpack(bits: bytes, shape: tuple[int, int]) -> np.ndarray:
    """What `pack` was given."""
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=shape[0] * shape[1]).reshape(shape).astype(bool)


def _of_voc(png: bytes, labels: Sequence[str], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Pixel values 1 to 20 are the classes in VOC's order; 255 is a border that belongs to none."""
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            values = np.asarray(image)
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise DecodeError(f"its segmentation: {one_line_with_kind(error)}") from None
    if values.shape[:2] != size[::-1]:
        of, has = (" x ".join(map(str, each)) for each in (values.shape[1::-1], size))
        raise DecodeError(f"its segmentation: of {of} pixels; it has {has}")
    if values.ndim != 2:
        raise DecodeError("its segmentation: not a PNG of class numbers, one channel")
    return {label: values == VOC.index(label) + 1 for label in labels if label in VOC}


def _of_coco(boxes: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> dict[str, np.ndarray]:
    width, height = size
    found: dict[str, np.ndarray] = {}
    for label in dict.fromkeys(box["label"] for box in boxes):
        outlines = [box["segmentation"] for box in boxes if box["label"] == label]
        if all(outlines):
            found[label] = np.any([_rasterise(outline, width, height) for outline in outlines], axis=0)
    return found


def _rasterise(outline: str, width: int, height: int) -> np.ndarray:
    """COCO's polygons, or its run lengths, as it rasterises them itself: (height, width) bool."""
    try:
        value = json.loads(outline)
        if isinstance(value, list):
            _check_polygons(value)
            runs = coco.merge(coco.frPyObjects(value, height, width))
        else:
            _check_size(value["size"], width, height)
            _check_runs(value["counts"], width * height)
            runs = coco.frPyObjects(value, height, width) if isinstance(value["counts"], list) else value
        return np.asarray(coco.decode(runs), dtype=bool)
    except DecodeError:
        raise
    except Exception as error:  # written in C, it raises nearly anything
        raise DecodeError(f"its segmentation: {one_line_with_kind(error)}") from None


def _check_size(size: Sequence[Any], width: int, height: int) -> None:
    """Run lengths are written for one size; pycocotools asks for as much memory as they say, and dies without it."""
    if list(size) != [height, width]:
        of = " x ".join(str(side) for side in reversed(size))
        raise DecodeError(f"its segmentation: of {of} pixels; it has {width} x {height}")


def _check_runs(counts: Any, pixels: int) -> None:
    """Run lengths that cover the image: of others pycocotools makes what happens to lie in memory."""
    runs = counts if isinstance(counts, list) else _uncompressed(str(counts).encode())
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != pixels:
        raise DecodeError(f"its segmentation: its run lengths are not whole numbers that add up to {pixels} pixels")


def _uncompressed(counts: bytes) -> list[int]:
    """COCO's string of run lengths, written out.

    Five bits to a character, the sixth for more; from the fourth on, the difference to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _check_polygons(polygons: Sequence[Any]) -> None:
    """Numbers that pycocotools can count along: it dies of one that is none, or that is far away."""
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or len(points) < 4 or len(points) % 2:
            raise DecodeError("its segmentation: a polygon is a list of x, y, x, y and so on")
        if not (np.abs(points) <= _FARTHEST).all():
            raise DecodeError(f"its segmentation: a polygon has a point beyond {_FARTHEST} pixels")
        if np.abs(np.diff(points.reshape(-1, 2), axis=0)).sum() > _LONGEST:
            raise DecodeError(f"its segmentation: a polygon is longer than {_LONGEST} pixels")
