"""Like maps into groups."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, homogeneity_score
from written_runs import blob

from igcam_batch.report.cues.grouping import groups, position_invariant, spatial


def normalised(maps: list[np.ndarray], noise: float = 0.05) -> np.ndarray:
    """Maps with some noise, of sum 1."""
    noisy = np.stack(maps) + np.random.default_rng(0).random((len(maps), *maps[0].shape)) * noise
    return noisy / noisy.sum((1, 2), keepdims=True)


@pytest.mark.parametrize("sizes", [(30, 30), (40, 12), (20, 20, 20)])
def test_as_many_modes_as_were_planted_are_found(sizes: tuple[int, ...]) -> None:
    places = [(1, 1), (5, 5), (1, 5)]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups(spatial(normalised([blob(*places[mode]) for mode in truth])))
    assert adjusted_rand_score(truth, labels) == 1
    assert labels[0] == 0  # the largest is the first


def test_one_mode_is_one_group() -> None:
    generator = np.random.default_rng(3)
    maps = [blob(3 + generator.normal(0, 0.3), 3 + generator.normal(0, 0.3)) for _ in range(80)]
    assert not groups(spatial(normalised(maps))).any()


@pytest.mark.parametrize("maps", [np.full((40, 7, 7), 1 / 49), np.eye(49)[:5].reshape(5, 7, 7)])
def test_maps_that_are_all_alike_or_few_are_one_group(maps: np.ndarray) -> None:
    assert not groups(spatial(maps)).any()


def test_a_pattern_that_moves_is_one_thing_to_the_invariant_embedding_alone() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1], 40)
    y, x = np.mgrid[:14, :14]
    maps = []
    for kind in truth:
        row, column = generator.uniform(4, 9, 2)
        height, width = ((1.0, 1.0), (0.7, 2.5))[kind]  # a dot, or a bar
        maps.append(np.exp(-((y - row) ** 2 / height**2 + (x - column) ** 2 / width**2) / 2))
    maps = normalised(maps, noise=0)
    invariant, lying = groups(position_invariant(maps)), groups(spatial(maps))
    assert homogeneity_score(truth, invariant) == 1  # dots and bars are never of one group
    assert adjusted_rand_score(truth, invariant) > 0.7 > 0.3 > adjusted_rand_score(truth, lying)


def test_the_invariant_embedding_does_not_change_when_a_pattern_moves_within_the_frame() -> None:
    pattern = np.zeros((1, 7, 7))
    pattern[0, 0:2, 0:3] = np.random.default_rng(0).random((2, 3))
    moved = np.roll(pattern, (4, 3), (1, 2))
    np.testing.assert_allclose(position_invariant(pattern), position_invariant(moved), atol=1e-12)
    assert np.linalg.norm(spatial(pattern) - spatial(moved)) > 1
