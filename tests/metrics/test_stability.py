"""Sensitivity to a shift of the input."""

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from torch import Tensor

from igcam_batch.metrics.stability import sensitivity, shifted, shifts

EVERY = [(3, 0), (-3, 0), (0, 2), (0, -2), (2, -1)]


@pytest.mark.parametrize("by", EVERY, ids=str)
def test_a_shift_moves_every_pixel_and_repeats_the_edge(by: tuple[int, int]) -> None:
    right, down = by
    images = torch.rand(2, 3, 7, 9)
    rows = (np.arange(7) - down).clip(0, 6)
    columns = (np.arange(9) - right).clip(0, 8)
    assert torch.equal(shifted(images, by), images[:, :, rows][:, :, :, columns])


def test_four_ways_are_tried() -> None:
    assert sorted(shifts(4)) == [(-4, 0), (0, -4), (0, 4), (4, 0)]


@pytest.mark.parametrize("by", EVERY, ids=str)
def test_a_map_that_moves_with_its_image_has_0(by: tuple[int, int]) -> None:
    maps = torch.rand(3, 7, 9)
    moved = shifted(maps.unsqueeze(1), by).squeeze(1)
    assert sensitivity(maps, {by: moved}).tolist() == [0, 0, 0]


def test_it_is_the_largest_relative_change_over_the_shifts_where_both_maps_are() -> None:
    maps, found = torch.rand(2, 6, 8), {by: torch.rand(2, 6, 8) for by in EVERY}
    expected = []
    for n in range(2):
        changes = []
        for (right, down), other in found.items():
            pairs = [
                (maps[n, row, column].item(), other[n, row + down, column + right].item())
                for row in range(6)
                for column in range(8)
                if 0 <= row + down < 6 and 0 <= column + right < 8
            ]
            here, there = np.array(pairs).T
            changes.append(np.linalg.norm(there - here) / np.linalg.norm(here))
        expected.append(max(changes))
    np.testing.assert_allclose(sensitivity(maps, found).numpy(), expected, rtol=1e-5)


def test_it_is_captum_s_maximum_sensitivity_for_maps_that_are_zero_at_the_border() -> None:
    """captum compares what the function gives for the perturbed input: here the map, shifted back."""
    torch.manual_seed(4)
    kernel = torch.rand(1, 3, 3, 3)

    def maps_of(images: Tensor) -> Tensor:
        heat = torch.nn.functional.conv2d(images, kernel, padding=1).relu()[:, 0] ** 2
        return heat / heat.amax((1, 2), keepdim=True)  # not a function of each place alone

    images = torch.zeros(2, 3, 16, 16)
    images[:, :, 6:10, 6:10] = torch.rand(2, 3, 4, 4)
    images[:, 0, 5, 5] = 2
    ways = shifts(2)
    ours = sensitivity(maps_of(images), {by: _noisy(maps_of(shifted(images, by)), by) for by in ways})
    turn = iter(ways)
    latest: list[tuple[int, int]] = []

    def perturb(inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        latest.append(next(turn))
        tensor = inputs if isinstance(inputs, Tensor) else inputs[0]
        return shifted(tensor, latest[-1])

    def explain(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        tensor = inputs if isinstance(inputs, Tensor) else inputs[0]
        if not latest:
            return (maps_of(tensor),)
        right, down = latest[-1]
        found = _noisy(maps_of(tensor), latest[-1])
        return (shifted(found.unsqueeze(1), (-right, -down)).squeeze(1),)

    theirs = sensitivity_max(explain, images, perturb_func=perturb, n_perturb_samples=4, max_examples_per_batch=2)
    assert ours.min() > 0
    torch.testing.assert_close(ours, theirs)


def _noisy(maps: Tensor, by: tuple[int, int]) -> Tensor:
    """What a network that is not equivariant makes of a shift: zero at the border, as the maps are."""
    generator = torch.Generator().manual_seed(by[0] * 7 + by[1])
    noise = torch.zeros_like(maps)
    noise[:, 5:11, 5:11] = torch.rand(maps.shape[0], 6, 6, generator=generator)
    return maps + noise


def test_a_map_of_zero_has_no_value_and_leaves_the_others_theirs() -> None:
    maps, other = torch.rand(2, 6, 6), torch.rand(2, 6, 6)
    alone = sensitivity(maps[1:], {(1, 0): other[1:]})
    maps[0] = 0
    found = sensitivity(maps, {(1, 0): other})
    assert found[0].isnan()
    torch.testing.assert_close(found[1:], alone)


def test_a_map_that_is_zero_in_the_part_that_one_shift_leaves_has_the_value_of_the_others() -> None:
    maps = torch.zeros(1, 6, 6)
    maps[0, :, 0] = 1
    found = {by: torch.rand(1, 6, 6) for by in shifts(1)}
    with_a_value = {by: other for by, other in found.items() if by != (-1, 0)}  # that one takes the column away
    torch.testing.assert_close(sensitivity(maps, found), sensitivity(maps, with_a_value))
