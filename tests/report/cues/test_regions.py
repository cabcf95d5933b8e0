"""Where attention lies."""

import numpy as np
import pytest

from igcam_batch.report.cues.regions import BORDER_AREA, CORNER_AREA, CORNERS, border_share, corner_shares


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (14, 5)])
def test_an_even_map_has_as_much_as_the_area(shape: tuple[int, int]) -> None:
    even = np.full((1, *shape), 1 / np.prod(shape))
    assert border_share(even)[0] == pytest.approx(BORDER_AREA)
    np.testing.assert_allclose(corner_shares(even), CORNER_AREA)


@pytest.mark.parametrize(("place", "corner"), list(enumerate(CORNERS)))
def test_a_corner_s_cell_is_in_that_corner_and_the_border(place: int, corner: str) -> None:
    maps = np.zeros((1, 8, 8))
    maps[0, -1 if corner.startswith("bottom") else 0, -1 if corner.endswith("right") else 0] = 1
    assert corner_shares(maps)[0].tolist() == [float(other == place) for other in range(4)]
    assert border_share(maps)[0] == pytest.approx(1)


def test_the_middle_is_in_none() -> None:
    maps = np.zeros((1, 7, 7))
    maps[0, 3, 3] = 1
    assert corner_shares(maps).sum() == 0
    assert border_share(maps)[0] == pytest.approx(0)
