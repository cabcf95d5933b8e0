"""Boxes from maps, and back through the geometry of each recipe."""

import numpy as np
import pytest

from igcam_batch.images import Recipe
from igcam_batch.report.export.boxes import pseudo_box
from igcam_batch.report.export.coco import box_in_original

RECIPES = [
    Recipe(size=224, resize="stretch"),
    Recipe(size=224, resize="crop", resize_size=256),
    Recipe(size=224, resize="crop", resize_size=200),  # with a border
    Recipe(size=224, resize="stretch", resize_size=256),
]


def blob(box: tuple[float, ...], recipe: Recipe, size: tuple[int, int], cells: int) -> np.ndarray:
    """(cells, cells): the share of each cell that a box of the original covers in the model's input."""
    left, top, right, bottom = (side * cells / recipe.size for side in recipe.box(box, size))

    def covered(start: float, stop: float) -> np.ndarray:
        edges = np.arange(cells + 1)
        return np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, 1)

    return np.outer(covered(top, bottom), covered(left, right))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [(640, 480), (300, 500), (224, 224)])
@pytest.mark.parametrize("cells", [7, 14, 56])
def test_a_planted_object_comes_back_within_a_cell(recipe: Recipe, size: tuple[int, int], cells: int) -> None:
    planted = (0.35 * size[0], 0.4 * size[1], 0.65 * size[0], 0.7 * size[1])  # inside any crop
    found = box_in_original(blob(planted, recipe, size, cells), recipe, size, 0.5)
    assert found is not None
    scale_x, scale_y, _, _ = recipe.geometry(size)
    cell = recipe.size / cells
    np.testing.assert_array_less(
        np.abs(np.subtract(found, planted)), np.array([cell / scale_x, cell / scale_y] * 2) + 1e-6
    )


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [(640, 480), (300, 500), (31, 224)])
def test_a_box_goes_to_the_model_s_input_and_back(recipe: Recipe, size: tuple[int, int]) -> None:
    box = (0.45 * size[0], 0.45 * size[1], 0.55 * size[0], 0.55 * size[1])
    assert recipe.original_box(recipe.box(box, size), size) == pytest.approx(box)


def test_what_lies_in_a_black_border_is_no_box() -> None:
    recipe = Recipe(size=64, resize="crop", resize_size=32)
    assert recipe.original_box((0, 0, 64, 64), (100, 100)) == (0, 0, 100, 100)
    heat = np.zeros((16, 16))
    heat[0, 0] = 1
    assert box_in_original(heat, recipe, (100, 100), 0.2) is None


def test_it_is_the_largest_part_above_the_threshold() -> None:
    heat = np.zeros((20, 20))
    heat[2:5, 2:5] = 1.0
    heat[10:16, 8:18] = 0.5
    heat[0, 19] = 0.1
    assert pseudo_box(heat, 0.2) == (8, 10, 18, 16)
    assert pseudo_box(heat, 0.5) == (2, 2, 5, 5)  # what equals it is not above


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert pseudo_box(np.eye(5), 0.2) == (0, 0, 5, 5)


def test_a_map_that_is_zero_has_no_box() -> None:
    assert pseudo_box(np.zeros((4, 4))) is None
