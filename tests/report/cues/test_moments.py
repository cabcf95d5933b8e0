"""Means of groups and the doubt in them, against NumPy, SciPy and shuffling."""

import numpy as np
import pytest
from scipy.stats import ttest_ind_from_stats

from igcam_batch.report.cues.moments import Moments, apart, error_of_difference


def test_moments_are_those_of_the_values_that_there_are_also_after_adding_and_taking_away() -> None:
    values = np.random.default_rng(0).random((12, 3))
    values[::4, 1] = np.nan
    values[:, 2] = np.nan
    whole = Moments.of(values)
    rest = whole - Moments.of(values[:5]) + Moments.of(values[3:5])
    for found, own in ((whole, values), (rest, values[3:])):
        assert found.count.tolist() == np.isfinite(own).sum(0).tolist()
        np.testing.assert_allclose(found.mean[:2], np.nanmean(own[:, :2], axis=0))
        np.testing.assert_allclose(found.variance[:2], np.nanvar(own[:, :2], axis=0, ddof=1))
        assert np.isnan(found.mean[2])


def test_the_error_is_welchs_where_the_group_is_the_more_spread() -> None:
    generator = np.random.default_rng(0)
    own, others = generator.normal(0.5, 0.3, 20), generator.normal(0.2, 0.1, 90)
    error = error_of_difference(Moments.of(own[:, None]), Moments.of(others[:, None]))[0]
    said = ttest_ind_from_stats(own.mean(), own.std(ddof=1), 20, others.mean(), others.std(ddof=1), 90, equal_var=False)
    assert (own.mean() - others.mean()) / error == pytest.approx(said.statistic)


def test_a_few_that_happen_to_agree_are_no_surer_than_as_many_of_the_others() -> None:
    others = np.random.default_rng(0).random((90, 1))
    agreeing = Moments.of(np.full((2, 1), 0.9))
    variance = others.var(ddof=1)
    assert error_of_difference(agreeing, Moments.of(others))[0] ** 2 == pytest.approx(variance / 2 + variance / 90)


def test_of_one_value_alone_there_is_no_error() -> None:
    one, nothing = Moments.of(np.ones((1, 1))), Moments.none(1)
    assert np.isnan(error_of_difference(one, nothing))
    assert np.isnan(error_of_difference(nothing, nothing))
    assert np.isnan(apart(one, nothing))


class TestApart:
    @pytest.mark.parametrize(("first", "second"), [(2, 60), (10, 10), (200, 20)])
    def test_is_nothing_between_groups_drawn_alike(self, first: int, second: int) -> None:
        generator = np.random.default_rng(first)
        found = [
            apart(*(Moments.of(generator.dirichlet(np.full(49, 0.3), count)) for count in (first, second)))
            for _ in range(20)
        ]
        assert np.mean(found) < 0.03

    def test_is_the_total_variation_between_groups_that_do_not_vary(self) -> None:
        one, other = np.array([[0.5, 0.5, 0, 0]] * 400), np.array([[0.25, 0.25, 0.25, 0.25]] * 400)
        assert apart(Moments.of(one), Moments.of(other)) == pytest.approx(0.5, abs=0.03)
