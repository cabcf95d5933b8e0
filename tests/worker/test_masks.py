"""Outlines of objects: VOC's PNGs and COCO's segmentations, through the geometry of the pixels."""

import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from igcam_batch.images import DecodeError, Recipe
from igcam_batch.vocabularies import VOC
from igcam_batch.worker.masks import object_masks, pack, unpack

RECIPE = Recipe(size=32, resize="stretch", resize_size=32)
SIZE = (64, 48)


def box(label: str, segmentation: object) -> dict:
    return {"label": label, "segmentation": None if segmentation is None else json.dumps(segmentation)}


def masks_of(*boxes: dict, labels: tuple[str, ...] = (), png: bytes | None = None) -> dict[str, np.ndarray]:
    found = object_masks({"boxes": boxes, "labels": labels}, png, SIZE, RECIPE)
    return {mask["label"]: unpack(mask["bits"], (32, 32)) for mask in found}


def filled(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("shape", [(5, 7), (32, 32), (1, 1)], ids=str)
def test_packing_loses_nothing(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.5
    assert (unpack(pack(mask), shape) == mask).all()


class TestCoco:
    POLYGON = ([[8, 4, 40, 4, 40, 36, 8, 36]], filled(4, 36, 8, 40))

    def test_polygons_and_run_lengths_are_what_pycocotools_makes_of_them(self):
        mask = np.random.default_rng(2).random(SIZE[::-1]) < 0.3
        compressed = coco.encode(np.asfortranarray(mask))
        plain = {"size": [48, 64], "counts": self.runs(mask)}
        text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
        found = masks_of(box("a", self.POLYGON[0]), box("b", plain), box("c", text))
        for label, expected in (("a", self.POLYGON[1]), ("b", mask), ("c", mask)):
            assert (found[label] == RECIPE.mask(expected)).all(), label

    @staticmethod
    def runs(mask: np.ndarray) -> list[int]:
        """Lengths of runs of 0 and 1 by turns, column by column, beginning with 0."""
        flat = np.concatenate(([False], mask.T.ravel(), [None]))
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        lengths = np.diff(np.concatenate(([0], edges)))
        return lengths.tolist()

    def test_objects_of_a_class_are_one_mask(self):
        other = [[48, 40, 60, 40, 60, 46, 48, 46]]
        found = masks_of(box("cat", self.POLYGON[0]), box("dog", other), box("cat", other))
        assert (found["cat"] == RECIPE.mask(self.POLYGON[1] | filled(40, 46, 48, 60))).all()

    def test_a_class_of_which_an_object_has_no_outline_has_no_mask(self):
        found = masks_of(box("cat", self.POLYGON[0]), box("dog", self.POLYGON[0]), box("cat", None))
        assert found.keys() == {"dog"}

    @pytest.mark.parametrize(
        "segmentation",
        [[[1, 2]], [["a"]], {"counts": "???"}, {"size": [5, 5], "counts": [25]}, "polygon", 7, [[]]],
        ids=str,
    )
    def test_one_that_is_none_is_an_error_of_its_image(self, segmentation):
        with pytest.raises(DecodeError, match=r"^its segmentation: "):
            masks_of(box("cat", segmentation))

    @pytest.mark.parametrize(
        "segmentation",
        [
            {"size": [100_000, 100_000], "counts": "P8"},
            {"size": [2**31, 2**31], "counts": [5]},
            {"size": [-1, -1], "counts": "1"},
            {"size": [48, 64], "counts": [3072, 3072, 4_000_000]},
            {"size": [48, 64], "counts": [2**32 - 5, 5, 3072]},
            {"size": [48, 64], "counts": "o" * 2000},
            {"size": [48, 64], "counts": "zzzzzzzzzzzz"},
            {"size": [48, 64], "counts": [0, 10]},
            {"size": [48, 64], "counts": [1600.5, 1471.5]},
            {"size": [48, 64], "counts": [4000, -928]},
            [[1e308, 1, 2, 2, 3, 3]],
            [[math.nan, 1, 2, 2, 3, 3]],
            [[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9]],
            [[0, 0, 100_000, 0] * 1000],
            [{"size": [48, 64], "counts": [3072]}],
        ],
        ids=lambda segmentation: str(segmentation)[:40],
    )
    def test_one_that_would_end_the_process_is_an_error_of_its_image(self, segmentation):
        with pytest.raises(DecodeError, match=r"^its segmentation: [^\n]+$"):
            masks_of(box("cat", segmentation))

    def test_run_lengths_of_any_characters_are_a_mask_or_an_error(self):
        program = (
            "import json, random\n"
            "from igcam_batch.images import DecodeError\n"
            "from igcam_batch.worker.masks import _rasterise\n"
            "chance = random.Random(1)\n"
            "for _ in range(3000):\n"
            "    counts = ''.join(chr(chance.randrange(40, 120)) for _ in range(chance.randrange(1, 40)))\n"
            "    try:\n"
            "        assert _rasterise(json.dumps({'size': [48, 64], 'counts': counts}), 64, 48).shape == (48, 64)\n"
            "    except DecodeError as error:\n"
            "        assert str(error).isprintable()\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class TestVoc:
    @staticmethod
    def png(values: np.ndarray, mode: str = "P") -> bytes:
        image = Image.fromarray(values)
        if mode == "P":
            image.putpalette([7] * 768)  # colours do not matter
        file = io.BytesIO()
        image.convert(mode).save(file, "PNG")
        return file.getvalue()

    def test_pixels_are_numbers_of_classes_and_borders_belong_to_none(self):
        values = np.zeros(SIZE[::-1], dtype=np.uint8)
        values[4:20, 8:30] = VOC.index("cat") + 1
        values[30:40, 8:30] = VOC.index("dog") + 1
        values[4:6] = 255
        found = masks_of(labels=("cat", "dog", "gnu"), png=self.png(values))
        assert found.keys() == {"cat", "dog"}
        assert (found["cat"] == RECIPE.mask(values == 8)).all()
        assert (found["dog"] == RECIPE.mask(values == 12)).all()

    def test_what_is_no_png_of_classes_is_an_error_of_its_image(self):
        with pytest.raises(DecodeError, match=r"^its segmentation: "):
            masks_of(labels=("cat",), png=b"not a PNG")
        with pytest.raises(DecodeError, match="one channel"):
            masks_of(labels=("cat",), png=self.png(np.zeros(SIZE[::-1], dtype=np.uint8), "RGB"))
        with pytest.raises(DecodeError, match="of 4 x 6 pixels; it has 64 x 48"):
            masks_of(labels=("cat",), png=self.png(np.zeros((6, 4), dtype=np.uint8)))
