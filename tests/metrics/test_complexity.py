"""The Gini index of a map."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from igcam_batch.metrics.complexity import sparsity


def test_a_constant_map_has_0_and_a_single_pixel_all_but_its_share() -> None:
    single = torch.zeros(4, 5)
    single[1, 2] = 3
    found = sparsity(torch.stack([torch.full((4, 5), 2.0), single]))
    np.testing.assert_allclose(found.numpy(), [0, 1 - 1 / 20], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.floats(0, 8))
def test_it_is_the_mean_difference_of_two_pixels_over_twice_their_mean(seed: int, power: float) -> None:
    """The definition of the Gini index that economists use, over all pairs."""
    heat = np.random.default_rng(seed).random((3, 4, 6)) ** power
    pairs = np.abs(heat.reshape(3, 1, -1) - heat.reshape(3, -1, 1)).mean((1, 2))
    expected = pairs / (2 * heat.mean((1, 2)))
    np.testing.assert_allclose(sparsity(torch.from_numpy(heat)).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_scale_and_place_do_not_matter() -> None:
    heat = torch.rand(1, 6, 6)
    assert sparsity(1e-6 * heat).item() == pytest.approx(sparsity(heat).item(), rel=1e-5)
    assert sparsity(heat.flip(1)).item() == pytest.approx(sparsity(heat).item(), rel=1e-6)


def test_a_map_of_zero_has_no_value() -> None:
    assert math.isnan(sparsity(torch.zeros(1, 3, 3)).item())
