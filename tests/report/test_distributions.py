"""Distributions of values in one pass."""

import numpy as np
import pytest

from igcam_batch.report.distributions import BARS, Distribution
from igcam_batch.report.html.charts import HEIGHT, WIDTH, histogram


def test_parts_come_to_the_whole_and_nan_is_no_value() -> None:
    values = np.random.default_rng(0).beta(2, 5, 10_000)
    whole, parts = Distribution(), Distribution()
    whole.add(values)
    for part in np.split(values, 10):
        parts.add(np.append(part, np.nan))
    assert (whole.counts == parts.counts).all()
    assert whole.rows == 10_000
    assert whole.bars() == np.histogram(values, BARS, (0, 1))[0].tolist()


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_quantiles_are_right_to_a_step(share: float) -> None:
    values = np.random.default_rng(1).beta(2, 5, 10_000)
    counted = Distribution()
    counted.add(values)
    assert counted.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.0015)


def test_what_is_beyond_one_is_drawn_at_the_end_and_told() -> None:
    counted = Distribution()
    counted.add(np.array([1.0, 1.7, 0.2]))
    assert (counted.rows, counted.beyond, counted.bars()[-1]) == (3, 1, 2)
    assert "1 of them above 100" in histogram(counted).text


def test_the_highest_bar_fills_the_chart_and_empty_ones_are_left_out() -> None:
    counted = Distribution()
    counted.add(np.array([0.01, 0.01, 0.99]))
    low, high = histogram(counted).bars
    assert (low[1], low[3]) == (0, HEIGHT)
    assert high[3] == HEIGHT / 2
    assert low[0] < WIDTH / BARS
    assert high[0] + high[2] <= WIDTH
    assert histogram(Distribution()).bars == []
