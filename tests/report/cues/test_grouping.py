"""Groups of maps, and the two ways of seeing maps in which they are looked for."""

import numpy as np
import pytest
from cue_runs import spot

from igcam_batch.report.cues.grouping import autocorrelation, groups, position_invariant, spatial


def of_sum_1(maps: list[np.ndarray]) -> np.ndarray:
    return np.stack([each / each.sum() for each in maps]).astype(np.float32)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def pattern(shape: tuple[int, int], row: int, column: int) -> np.ndarray:
    """Three cells of different height, of which the first is at (row, column)."""
    found = np.zeros(shape, dtype=np.float32)
    found[row, column], found[row + 1, column], found[row, column + 2] = 3, 2, 1
    return found


class TestPositionInvariant:
    def test_copies_of_a_pattern_in_other_places_are_together_where_they_lie_they_are_apart(self) -> None:
        maps = of_sum_1([pattern((9, 7), row, column) for row in (0, 3, 7) for column in (0, 2, 4)])
        for invariant in (position_invariant(maps), autocorrelation(maps)):
            np.testing.assert_allclose(invariant, np.broadcast_to(invariant[:1], invariant.shape), atol=1e-6)
        away = np.linalg.norm(spatial(maps)[1:] - spatial(maps)[0], axis=1)
        assert away.min() > 0.5

    def test_patterns_that_differ_are_apart_wherever_they_lie(self) -> None:
        upright = pattern((9, 7), 2, 2)
        maps = of_sum_1([upright, np.pad(upright[:, ::-1], 0)[::-1], pattern((9, 7), 2, 2) ** 3, np.ones((9, 7))])
        points = position_invariant(maps)
        assert np.linalg.norm(points[0] - points[1]) < 1e-6  # turned by half a turn: the magnitudes are the same
        assert np.linalg.norm(points[0] - points[2]) > 0.1
        assert np.linalg.norm(points[0] - points[3]) > 0.1

    def test_no_two_maps_are_further_apart_than_as_they_lie(self) -> None:
        maps = np.random.default_rng(0).random((20, 7, 7)).astype(np.float32) ** 4
        maps /= maps.sum((1, 2), keepdims=True)
        there, here = (
            np.linalg.norm(points[:, None] - points[None], axis=2)
            for points in (position_invariant(maps), spatial(maps))
        )
        assert (there <= here + 1e-6).all()


def test_spatial_distances_are_those_of_hellinger() -> None:
    one, other = np.random.default_rng(0).dirichlet(np.ones(6), 2).reshape(2, 2, 3)
    points = spatial(np.stack([one, other]))
    affinity = sum(np.sqrt(a * b) for a, b in zip(one.flat, other.flat, strict=True))
    assert ((points[0] - points[1]) ** 2).sum() == pytest.approx(2 - 2 * affinity)


def test_autocorrelation_is_the_distribution_of_ways_between_two_points() -> None:
    (each,) = of_sum_1([pattern((4, 5), 1, 1)])
    expected = np.zeros((8, 10))
    for row, column in np.ndindex(4, 5):
        for other_row, other_column in np.ndindex(4, 5):
            expected[row - other_row, column - other_column] += each[row, column] * each[other_row, other_column]
    np.testing.assert_allclose(autocorrelation(each[None])[0].reshape(8, 10), expected, atol=1e-7)


class TestGroups:
    @pytest.mark.parametrize("sizes", [(40, 40), (60, 20), (200, 40), (30, 30, 30), (20, 20, 20, 20, 20)])
    def test_are_the_planted_ones_the_largest_first(self, sizes: tuple[int, ...]) -> None:
        places = [(1, 1), (5, 5), (1, 5), (5, 1), (3, 3)]
        planted = np.repeat(np.arange(len(sizes)), sizes)
        order = np.random.default_rng(len(sizes)).permutation(len(planted))
        maps = of_sum_1([spot(*places[group], seed=seed) for seed, group in enumerate(planted)])[order]
        found = groups(spatial(maps))
        assert partition(found) == partition(planted[order])
        assert np.bincount(found).tolist() == sorted(sizes, reverse=True)

    @pytest.mark.parametrize("seed", range(5))
    def test_are_one_where_maps_are_of_one_kind(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        noise = of_sum_1(list(generator.random((80, 7, 7)) ** 4))
        one_place = of_sum_1([spot(3, 3, seed=1000 * seed + number) for number in range(80)])
        for maps in (noise, one_place):
            assert not groups(spatial(maps)).any()
            assert not groups(position_invariant(maps)).any()

    @pytest.mark.parametrize("seed", range(3))
    def test_are_one_where_places_or_sizes_go_over_into_one_another(self, seed: int) -> None:
        along = np.random.default_rng(seed).permutation(100) / 100  # places drawn at random have gaps by chance
        line = of_sum_1([spot(3, 1 + 4 * place, seed=100 * seed + number) for number, place in enumerate(along)])
        sizes = of_sum_1([spot(3, 3, 100 * seed + number, width=0.5 + 1.5 * size) for number, size in enumerate(along)])
        assert not groups(spatial(line)).any()
        assert not groups(spatial(sizes)).any()
        assert not groups(position_invariant(sizes)).any()

    def test_are_one_where_maps_are_few_or_all_the_same(self) -> None:
        few = of_sum_1([spot(1, 1, seed) for seed in range(7)] + [spot(5, 5, seed) for seed in range(8)])
        assert not groups(spatial(few)).any()
        assert not groups(spatial(np.full((50, 7, 7), 1 / 49))).any()
        assert not groups(spatial(few[:1])).any()
