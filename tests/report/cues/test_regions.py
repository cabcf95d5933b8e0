"""Shares of the attention in the border and in the corners, against counting small cells."""

import numpy as np
import pytest

from igcam_batch.report.cues.regions import BORDER_AREA, CORNER_AREA, CORNERS, border_share, corner_shares
from igcam_batch.report.grid import reduced


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (14, 14), (3, 5), (1, 1)])
def test_shares_are_those_of_the_map_on_cells_that_the_regions_do_not_cut(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).random((4, *shape))
    maps /= maps.sum((1, 2), keepdims=True)
    fine = np.kron(maps, np.full((8, 8), 1 / 64))
    height, width = fine.shape[1:]
    top, bottom = slice(height // 4), slice(height - height // 4, None)
    left, right = slice(width // 4), slice(width - width // 4, None)
    expected = {
        "top left": fine[:, top, left],
        "top right": fine[:, top, right],
        "bottom left": fine[:, bottom, left],
        "bottom right": fine[:, bottom, right],
    }
    for place, corner in enumerate(CORNERS):
        np.testing.assert_allclose(corner_shares(maps)[:, place], expected[corner].sum((1, 2)))
    inner = fine[:, height // 8 : height - height // 8, width // 8 : width - width // 8]
    np.testing.assert_allclose(border_share(maps), 1 - inner.sum((1, 2)))


def test_an_even_map_has_the_share_of_the_area_in_each() -> None:
    even = np.full((1, 7, 5), 1 / 35)
    np.testing.assert_allclose(corner_shares(even), [[CORNER_AREA] * 4])
    np.testing.assert_allclose(border_share(even), [BORDER_AREA])
    assert (CORNER_AREA, BORDER_AREA) == (1 / 16, 7 / 16)


@pytest.mark.parametrize("side", [16, 20, 224])
def test_shares_hardly_change_when_a_map_is_brought_to_fewer_cells(side: int) -> None:
    y, x = np.mgrid[:side, :side] / side
    wide = np.exp(-((y - 0.8) ** 2 + (x - 0.7) ** 2) / 0.05)[None]
    wide /= wide.sum()
    few = reduced(wide, 14)
    np.testing.assert_allclose(corner_shares(few / few.sum()), corner_shares(wide), atol=0.01)
