"""EBPG and Bbox: hand-computed cases, ties and empty maps, and a naive implementation on random maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from igcam_batch.metrics.localisation import bbox, box_mask, ebpg, pointing_game

MAP = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 0.0]])
MASK = torch.tensor([[False, True, False], [True, True, False]])


def test_ebpg_is_the_share_of_energy_in_the_object() -> None:
    assert float(ebpg(MAP, MASK)) == pytest.approx((1 + 3 + 4) / 10)
    assert float(ebpg(MAP, torch.ones(2, 3, dtype=torch.bool))) == 1
    assert float(ebpg(MAP, MAP == 0)) == 0


def test_bbox_is_the_share_of_the_highest_pixels_in_the_object() -> None:
    assert float(bbox(MAP, MASK)) == pytest.approx(2 / 3)  # of 4, 3, 2 the first two
    assert float(bbox(MAP, torch.ones(2, 3, dtype=torch.bool))) == 1
    assert float(bbox(MAP, MAP == 0)) == 0


def test_pixels_that_tie_for_the_last_places_share_them() -> None:
    levels = torch.tensor([[5.0, 1.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, True, False, False]])
    assert float(bbox(levels, mask)) == pytest.approx((1 + 2 * 2 / 4) / 3)
    assert float(bbox(torch.full((4, 5), 0.3), torch.arange(20).view(4, 5) < 7)) == pytest.approx(7 / 20)  # chance


@pytest.mark.parametrize("metric", [ebpg, bbox])
def test_there_is_no_value_without_an_object_or_without_energy(metric) -> None:
    assert math.isnan(metric(MAP, torch.zeros(2, 3, dtype=torch.bool)))
    assert math.isnan(metric(torch.zeros(2, 3), MASK))


@pytest.mark.parametrize("metric", [ebpg, bbox])
def test_maps_of_a_batch_do_not_touch_each_other(metric) -> None:
    maps = torch.stack([MAP, torch.zeros(2, 3), MAP.flip(1), 7 * MAP])
    masks = torch.stack([MASK, MASK, torch.zeros_like(MASK), MASK])
    found = metric(maps.view(2, 2, 2, 3), masks.view(2, 2, 2, 3))
    assert found.shape == (2, 2)
    assert found.dtype == torch.float32
    one = float(metric(MAP, MASK))
    np.testing.assert_allclose(found.flatten().numpy(), [one, np.nan, np.nan, one], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 40))
def test_both_equal_a_naive_implementation(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    heat = generator.integers(0, levels + 1, (6, 7)).astype(np.float32)  # few levels: many ties
    mask = generator.random((6, 7)) < generator.uniform(0.1, 0.9)
    if not heat.any() or not mask.any():
        return
    assert float(ebpg(torch.from_numpy(heat), torch.from_numpy(mask))) == pytest.approx(
        heat[mask].sum() / heat.sum(), rel=1e-5
    )
    # The expected share under random order of ties, by ranking in many orders.
    area, shares = int(mask.sum()), []
    for _ in range(400):
        order = np.lexsort((generator.random(heat.size), -heat.ravel()))
        shares.append(mask.ravel()[order[:area]].mean())
    spread = np.std(shares) / math.sqrt(len(shares))
    assert float(bbox(torch.from_numpy(heat), torch.from_numpy(mask))) == pytest.approx(
        np.mean(shares), abs=6 * spread + 1e-6
    )


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.one_of(st.floats(-3, 12), st.integers(-3, 12), st.just(2.5))] * 4), max_size=3),
    height=st.integers(1, 7),
    width=st.integers(1, 9),
)
def test_box_mask_equals_a_look_at_every_pixel_s_centre(boxes: list, height: int, width: int) -> None:
    found = box_mask(boxes, (height, width))
    assert found.shape == (height, width)
    for row, column in np.ndindex(height, width):
        x, y = column + 0.5, row + 0.5
        inside = any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)
        assert bool(found[row, column]) == inside


def test_box_mask_takes_the_pixels_whose_centres_lie_in_a_box() -> None:
    mask = box_mask([(1, 0, 3, 2), (2.6, 1.4, 4, 2)], (3, 5))
    expected = torch.tensor([[0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(mask, expected)
    assert not box_mask([], (3, 5)).any()
    assert not box_mask([(2, 2, 2, 2)], (3, 5)).any()
    assert box_mask([(-10, -10, 99, 99)], (3, 5)).all()


class TestPointingGame:
    def test_the_highest_pixel_must_lie_within_the_tolerance_of_the_object(self) -> None:
        heat = torch.zeros(1, 40, 50)
        heat[0, 20, 10] = 1
        for column, hits in ((10, 1), (24, 1), (25, 0), (40, 0)):
            mask = torch.zeros(1, 40, 50, dtype=torch.bool)
            mask[0, 20, column] = True
            assert pointing_game(heat, mask, 15).tolist() == [hits], column

    def test_the_tolerance_is_a_circle(self) -> None:
        heat = torch.zeros(1, 40, 50)
        heat[0, 20, 20] = 1
        for down, right, hits in ((9, 11, 1), (9, 12, 0), (-9, -11, 1), (14, 0, 1), (15, 0, 0), (0, 0, 1)):
            mask = torch.zeros(1, 40, 50, dtype=torch.bool)
            mask[0, 20 + down, 20 + right] = True
            assert pointing_game(heat, mask, 15).tolist() == [hits], (down, right)

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), tolerance=st.integers(0, 30), levels=st.integers(1, 40))
    def test_it_equals_looking_round_every_highest_pixel(self, seed: int, tolerance: int, levels: int) -> None:
        generator = np.random.default_rng(seed)
        heat = generator.integers(0, levels + 1, (3, 12, 17)).astype(np.float32)
        masks = generator.random((3, 12, 17)) < 0.03
        rows, columns = np.mgrid[:12, :17]
        expected = []
        for one, mask in zip(heat, masks, strict=True):
            hits = [
                bool(mask[(rows - row) ** 2 + (columns - column) ** 2 < max(tolerance**2, 1)].any())
                for row, column in zip(*np.nonzero(one == one.max()), strict=True)
            ]
            expected.append(np.mean(hits) if mask.any() and one.any() else np.nan)
        found = pointing_game(torch.from_numpy(heat), torch.from_numpy(masks), tolerance)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)

    def test_a_map_of_zero_and_an_empty_mask_have_no_value(self) -> None:
        heat, mask = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
        heat[1, 0, 0] = 1
        mask[0, 0, 0] = True
        assert pointing_game(heat, mask, 3).isnan().all()
