"""Real photographs as a network's inputs, with the objects in them where somebody has drawn boxes."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.subjects import DEVICE
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.images import Recipe
from igcam_batch.images.decode import decode
from igcam_batch.metrics.localisation import box_mask
from igcam_batch.sources import SIDES, find_place, open_source
from igcam_batch.sources.fetch import read_uri

_MOST_PIXELS = 2**27


@dataclass(frozen=True)
class Photographs:
    """Inputs of a network.

    Attributes:
        images: (n, 3, H, W), preprocessed.
        objects: (n, H, W) bool, the union of all boxes of a photograph; empty where it has none.
    """

    images: Tensor
    objects: Tensor


def read_photographs(recipe: Recipe, directories: Sequence[str]) -> Photographs:
    """The demo's six, and those of some directories in any layout that an audit reads."""
    images, objects = [], []
    with _demo() as demo:
        for directory in (demo, *directories):
            for table in open_source(find_place(directory)).tables:
                for row in table.to_pylist():
                    pixels, mask = _read(recipe, row)
                    images.append(pixels)
                    objects.append(mask)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.mean, recipe.std))
    inputs = (torch.stack(images).float() / 255 - mean) / std
    return Photographs(inputs.to(DEVICE), torch.stack(objects).to(DEVICE))


@contextmanager
def _demo() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        write_photographs(Path(directory))
        yield directory


def _read(recipe: Recipe, row: dict[str, Any]) -> tuple[Tensor, Tensor]:
    image = decode(read_uri(row["uri"]), _MOST_PIXELS)
    boxes = [recipe.box([box[side] for side in SIDES], image.size) for box in row["boxes"]]
    return torch.from_numpy(recipe.pixels(image)), box_mask(boxes, (recipe.size, recipe.size))
