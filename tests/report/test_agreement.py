"""How alike two maps are."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from igcam_batch.report.agreement import rank_correlation, top_overlap


def test_rank_correlation_is_spearman_s_ties_and_all() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(0, 6, (20, 5, 4)), generator.integers(0, 6, (20, 5, 4))
    expected = [spearmanr(first.ravel(), second.ravel()).statistic for first, second in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), expected, rtol=1e-9)


def test_scale_and_any_rising_change_do_not_matter() -> None:
    maps = np.random.default_rng(0).random((3, 6, 6))
    np.testing.assert_allclose(rank_correlation(maps, np.exp(3 * maps)), 1)
    np.testing.assert_allclose(rank_correlation(maps, -maps), -1)
    np.testing.assert_allclose(top_overlap(maps, 7 * maps), 1)


def test_a_constant_map_agrees_with_nothing() -> None:
    flat, maps = np.zeros((1, 4, 4)), np.arange(16.0).reshape(1, 4, 4)
    assert np.isnan(rank_correlation(flat, maps)).all()
    assert np.isnan(top_overlap(maps, flat)).all()


def test_overlap_is_of_the_highest_pixels() -> None:
    one, other = np.zeros((1, 4, 5)), np.zeros((1, 4, 5))
    one[0, 0, :4] = other[0, 0, 2:5] = 1
    other[0, 1, 0] = 1
    assert top_overlap(one, other, share=4 / 20) == pytest.approx(2 / 6)
