"""Maps in colour."""

import matplotlib as mpl
import numpy as np
import pytest

import igcam_batch
from igcam_batch.report.colours import COLOURS


@pytest.mark.parametrize("colours", COLOURS)
def test_colours_are_matplotlib_s_of_the_same_name(colours: str) -> None:
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16) / 255
    expected = mpl.colormaps[colours](np.arange(256).reshape(1, 16, 16), bytes=True)[..., :3]
    np.testing.assert_array_equal(igcam_batch.colour_heatmaps(levels, colours), expected)


def test_each_map_is_scaled_by_its_own_maximum_or_by_one_that_is_given() -> None:
    first, last = igcam_batch.colour_heatmaps(np.array([[0.0, 1.0]]))[0]
    maps = np.array([[[0.0, 2.0]], [[0.0, 0.5]]], dtype=np.float16)
    coloured = igcam_batch.colour_heatmaps(maps)
    assert (coloured.shape, coloured.dtype) == ((2, 1, 2, 3), np.uint8)
    np.testing.assert_array_equal(coloured[:, 0], [[first, last], [first, last]])
    together = igcam_batch.colour_heatmaps(maps, maximum=2.0)
    np.testing.assert_array_equal(together[0], coloured[0])
    assert not (together[1, 0, 1] == last).all()


def test_a_map_that_is_zero_or_nan_has_the_first_colour() -> None:
    first = igcam_batch.colour_heatmaps(np.array([[0.0, 1.0]]))[0, 0]
    for value in (0.0, np.nan):
        np.testing.assert_array_equal(igcam_batch.colour_heatmaps(np.full((2, 3), value)), np.tile(first, (2, 3, 1)))
    assert igcam_batch.colour_heatmaps(np.empty((0, 4, 4))).shape == (0, 4, 4, 3)


def test_lightness_of_the_even_ones_rises_with_the_value() -> None:
    levels = np.arange(256).reshape(16, 16)
    for colours in ("inferno", "viridis"):
        red, green, blue = igcam_batch.colour_heatmaps(levels, colours).reshape(-1, 3).astype(float).T
        grey = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert (np.diff(grey) > -1).all()
        assert grey[-1] - grey[0] > 150


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((4,), {}, r"maps of shape \(4,\)"),
        ((4, 4), {"colours": "jet"}, "colours jet: there are inferno, viridis, turbo"),
        ((4, 4), {"maximum": 0.0}, "maximum 0.0: must be positive"),
    ],
)
def test_what_cannot_be_coloured_is_said_in_a_line(shape: tuple, options: dict, said: str) -> None:
    with pytest.raises(igcam_batch.InputError, match=said):
        igcam_batch.colour_heatmaps(np.zeros(shape), **options)
