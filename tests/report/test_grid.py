"""Maps on fewer cells hold the same."""

import numpy as np
import pytest

from igcam_batch.report.grid import reduced


@pytest.mark.parametrize(("shape", "most"), [((28, 28), 14), ((15, 40), 14), ((7, 9), 8), ((3, 3), 2)])
def test_a_part_is_the_mean_of_the_map_there(shape: tuple[int, int], most: int) -> None:
    maps = np.random.default_rng(0).random((3, *shape))
    rows, columns = (min(side, most) for side in shape)
    fine = np.kron(maps, np.ones((rows, columns)))  # each part has a whole number of these
    height, width = fine.shape[1] // rows, fine.shape[2] // columns
    expected = fine.reshape(3, rows, height, columns, width).mean((2, 4))
    np.testing.assert_allclose(reduced(maps, most), expected)
    np.testing.assert_allclose(reduced(maps, most).mean((1, 2)), maps.mean((1, 2)))


def test_a_map_that_is_small_enough_stays_as_it_is() -> None:
    maps = np.random.default_rng(0).random((3, 7, 14), dtype=np.float32)
    assert reduced(maps, 14) is maps
    assert reduced(np.ones((1, 15, 15), np.float32), 14).dtype == np.float32
