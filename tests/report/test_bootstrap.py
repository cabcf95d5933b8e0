"""Intervals: against scipy's bootstrap, by how often they hold the truth, and what they depend on."""

import numpy as np
import pytest
from scipy import stats

from igcam_batch.report.bootstrap import Interval, Means, image_key, poisson_weights

REPLICATES = 1000


def keys(count: int, of: str = "image") -> np.ndarray:
    return np.array([image_key(f"{of} {number}") for number in range(count)], dtype=np.uint64)


def interval(values: np.ndarray, names: np.ndarray | None = None) -> Interval:
    """Of one value for each image; NaN for none."""
    known = np.isfinite(values)
    means = Means(1, REPLICATES)
    weights = poisson_weights(keys(len(values)) if names is None else names, REPLICATES)
    means.add(np.where(known, values, 0.0)[:, None], known[:, None].astype(float), weights)
    return means.intervals()[0]


class TestWeights:
    def test_are_poisson_of_mean_1(self):
        weights = poisson_weights(keys(2000), REPLICATES)
        assert weights.shape == (2000, REPLICATES)
        shares = np.bincount(weights.astype(int).ravel(), minlength=8)[:8] / weights.size
        np.testing.assert_allclose(shares, stats.poisson(1).pmf(np.arange(8)), atol=1e-3)
        assert weights.mean() == pytest.approx(1, abs=2e-3)
        assert weights.var() == pytest.approx(1, abs=5e-3)

    def test_of_images_and_of_replicates_are_independent(self):
        weights = poisson_weights(keys(400), 400)
        for correlations in (np.corrcoef(weights), np.corrcoef(weights.T)):
            apart = correlations[~np.eye(400, dtype=bool)]
            assert np.abs(apart).max() < 0.3  # of 160,000 pairs; 6 standard deviations
            assert apart.std() == pytest.approx(1 / 20, rel=0.05)

    def test_depend_on_the_name_of_the_image_alone(self):
        every = poisson_weights(keys(50), REPLICATES)
        assert (poisson_weights(keys(50)[[7, 3]], REPLICATES) == every[[7, 3]]).all()
        assert (poisson_weights(keys(50), 10) == every[:, :10]).all()
        assert image_key("a/b.jpg") == 0x67ED673B4D9FCCAE  # in this process as in any


class TestInterval:
    @pytest.mark.parametrize("count", [30, 300])
    def test_is_scipys_percentile_bootstrap_but_for_chance(self, count):
        values = np.random.default_rng(3).exponential(size=count)
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(4)
        ).confidence_interval
        found = interval(values)
        assert found.mean == pytest.approx(values.mean())
        assert (found.rows, found.images) == (count, count)
        width = theirs.high - theirs.low
        assert found.low == pytest.approx(theirs.low, abs=0.12 * width)
        assert found.high == pytest.approx(theirs.high, abs=0.12 * width)

    def test_holds_the_truth_95_times_of_100(self):
        generator = np.random.default_rng(5)
        held = 0
        for trial in range(400):
            found = interval(generator.normal(2, 1, 60), keys(60, f"trial {trial}"))
            held += found.low <= 2 <= found.high
        assert 0.90 <= held / 400 <= 0.98

    def test_of_rows_that_come_in_copies_is_that_of_the_images_they_are_of(self):
        """Four rows of each image, all alike, say no more than one."""
        values = np.random.default_rng(6).normal(size=80)
        once = interval(values)
        means = Means(1, REPLICATES)
        means.add(4 * values[:, None], np.full((80, 1), 4.0), poisson_weights(keys(80), REPLICATES))
        copies = means.intervals()[0]
        assert (copies.rows, copies.images) == (320, 80)
        assert (copies.low, copies.high) == (pytest.approx(once.low, rel=1e-4), pytest.approx(once.high, rel=1e-4))

    def test_leaves_out_what_has_no_value(self):
        values = np.random.default_rng(7).normal(size=80)
        holes = values.copy()
        holes[::3] = np.nan
        found = interval(holes)
        present = np.isfinite(holes)
        alone = interval(values[present], keys(80)[present])
        assert found == Interval(
            pytest.approx(alone.mean), pytest.approx(alone.low), pytest.approx(alone.high), alone.rows, alone.images
        )

    def test_of_one_image_or_none_is_not_there(self):
        assert interval(np.array([0.5])) == Interval(0.5, None, None, 1, 1)
        assert interval(np.array([np.nan, np.nan])) == Interval(None, None, None, 0, 0)

    def test_does_not_depend_on_how_the_images_come(self):
        values, names = np.random.default_rng(8).normal(size=90), keys(90)
        whole = interval(values)
        order = np.random.default_rng(9).permutation(90)
        means = Means(1, REPLICATES)
        for some in np.array_split(order, 7):
            means.add(values[some, None], np.ones((len(some), 1)), poisson_weights(names[some], REPLICATES))
        parts = means.intervals()[0]
        assert (parts.low, parts.high) == (pytest.approx(whole.low, rel=1e-4), pytest.approx(whole.high, rel=1e-4))
