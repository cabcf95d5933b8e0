"""Drop and Increase: hand-computed cases, and what is kept of an image, ties and empty maps included."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from igcam_batch.metrics.evaluate import Explained, MetricSettings, evaluate
from igcam_batch.metrics.faithfulness import average_gain, drop, highest_pixels, increase, masked_confidence
from igcam_batch.names import METRICS, metric_column


def test_drop_is_the_relative_loss_of_confidence_and_never_negative() -> None:
    found = drop(torch.tensor([0.8, 0.5, 0.5, 0.0]), torch.tensor([0.2, 0.5, 0.9, 0.0]))
    np.testing.assert_allclose(found.numpy(), [0.75, 0, 0, np.nan])


def test_increase_is_one_where_confidence_rises_and_zero_where_it_stays() -> None:
    assert increase(torch.tensor([0.8, 0.5, 0.5]), torch.tensor([0.2, 0.5, 0.9])).tolist() == [0, 0, 1]


def test_the_highest_share_of_pixels_is_kept() -> None:
    heat = torch.arange(1.0, 21).view(4, 5)
    assert torch.equal(highest_pixels(heat), heat > 17)  # 15 % of 20
    assert torch.equal(highest_pixels(heat, 0.5), heat > 10)
    assert highest_pixels(heat, 1.0).all()


def test_of_pixels_that_tie_the_first_are_kept_and_never_more_than_the_share() -> None:
    kept = highest_pixels(torch.full((4, 5), 2.0))
    assert torch.equal(kept, torch.arange(20).view(4, 5) < 3)


def test_a_pixel_that_the_map_does_not_credit_is_never_kept() -> None:
    heat = torch.zeros(4, 5)
    assert not highest_pixels(heat).any()
    heat[2, 3] = 0.1
    assert torch.equal(highest_pixels(heat), heat > 0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 50), share=st.floats(0.02, 1))
def test_it_equals_a_stable_ranking(seed: int, levels: int, share: float) -> None:
    heat = np.random.default_rng(seed).integers(0, levels + 1, (2, 8, 9)).astype(np.float32)
    found = highest_pixels(torch.from_numpy(heat), share).numpy()
    for one, kept in zip(heat, found, strict=True):
        order = np.argsort(-one.ravel(), kind="stable")[: max(1, round(share * one.size))]
        expected = np.zeros(one.size, dtype=bool)
        expected[order] = True
        np.testing.assert_array_equal(kept.ravel(), expected & (one.ravel() > 0))


def test_maps_of_a_batch_keep_their_own_pixels() -> None:
    maps = torch.rand(2, 3, 7, 8, generator=torch.Generator().manual_seed(9))
    maps[0, 1] = 0
    kept = highest_pixels(100 ** torch.arange(6.0).view(2, 3, 1, 1) * maps)
    for b, k in np.ndindex(2, 3):
        assert torch.equal(kept[b, k], highest_pixels(maps[b, k]))
    assert kept.sum((2, 3)).tolist() == [[8, 0, 8], [8, 8, 8]]


def test_what_is_not_kept_becomes_black_in_pixel_space() -> None:
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    images = (torch.rand(2, 3, 4, 5) - mean) / std
    kept = torch.rand(2, 4, 5) < 0.5
    seen: list[Tensor] = []

    def confidence(batch: Tensor, classes: Tensor) -> Tensor:
        seen.append(batch * std + mean)
        return classes / 10

    found = masked_confidence(confidence, images, torch.tensor([3, 4]), kept, -mean / std)
    torch.testing.assert_close(found, torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(seen[0], (images * std + mean) * kept.unsqueeze(1), atol=1e-6, rtol=0)


def explained(maps: Tensor) -> Explained:
    count = len(maps)
    objects = torch.zeros(count, 4, 5, dtype=torch.bool)
    objects[0, :2] = True
    images = torch.rand(count, 3, 4, 5)
    return Explained(maps, images, torch.arange(count), torch.full((count,), 0.5), objects, torch.zeros_like(images))


def test_metrics_that_share_a_forward_pass_make_it_once_and_others_none() -> None:
    calls: list[int] = []

    def confidence(batch: Tensor, classes: Tensor) -> Tensor:
        calls.append(len(batch))
        return torch.full((len(batch),), 0.25)

    maps = torch.rand(3, 4, 5)
    found = evaluate(["ebpg", "bbox", "drop", "increase"], explained(maps), confidence)
    assert calls == [3]
    assert found["drop"].tolist() == [0.5] * 3
    assert found["increase"].tolist() == [0.0] * 3
    assert found["masked_confidence"].tolist() == [0.25] * 3
    assert float(found["ebpg"][0]) == pytest.approx(float(maps[0, :2].sum() / maps[0].sum()), rel=1e-5)
    assert math.isnan(found["ebpg"][1])
    assert evaluate(["bbox"], explained(maps), confidence).keys() == {"bbox"}
    assert calls == [3]


def test_all_four_equal_a_naive_implementation() -> None:
    generator = np.random.default_rng(10)
    maps, images = generator.random((12, 9, 11)), generator.random((12, 3, 9, 11))
    objects, classes = generator.random((12, 9, 11)) < 0.3, generator.integers(0, 4, 12)
    weights = generator.random((4, 3, 9, 11)) ** 4

    def confidence_of(image: np.ndarray, target: int) -> float:
        return float((weights[target] * image).sum() / weights[target].sum())

    def confidence(batch: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(batch.numpy(), targets.tolist(), strict=True)
        return torch.tensor([confidence_of(image, target) for image, target in pairs])

    black = np.array([-0.2, 0.1, 0.3])
    before = [confidence_of(image, int(target)) for image, target in zip(images, classes, strict=True)]
    found = evaluate(
        ["ebpg", "bbox", "drop", "increase"],
        Explained(
            *map(torch.from_numpy, (maps, images, classes, np.array(before), objects)),
            torch.from_numpy(black).view(1, 3, 1, 1).expand(12, -1, 9, 11),
        ),
        confidence,
    )
    for n in range(12):
        ranking = np.argsort(-maps[n].ravel())
        masked = np.empty_like(images[n])
        for row, column in np.ndindex(9, 11):
            place = int(np.flatnonzero(ranking == row * 11 + column)[0])
            masked[:, row, column] = images[n, :, row, column] if place < 15 else black  # 15 % of 99 pixels
        after = confidence_of(masked, int(classes[n]))
        assert float(found["masked_confidence"][n]) == pytest.approx(after, rel=1e-5)
        assert float(found["drop"][n]) == pytest.approx(max(0, before[n] - after) / before[n], rel=1e-4, abs=1e-6)
        assert float(found["increase"][n]) == (after > before[n])
        assert float(found["ebpg"][n]) == pytest.approx(maps[n][objects[n]].sum() / maps[n].sum(), rel=1e-5)
        area = int(objects[n].sum())
        assert float(found["bbox"][n]) == pytest.approx(objects[n].ravel()[ranking[:area]].mean(), rel=1e-5)


def test_a_map_that_is_zero_everywhere_keeps_nothing_of_its_image() -> None:
    def brightness(batch: Tensor, classes: Tensor) -> Tensor:
        return batch.mean((1, 2, 3))

    nothing = explained(torch.zeros(1, 4, 5))
    found = evaluate(["ebpg", "bbox", "drop", "increase"], nothing, brightness)
    assert found["masked_confidence"].tolist() == [0]
    assert found["drop"].tolist() == [1]
    assert math.isnan(found["ebpg"][0])
    assert math.isnan(found["bbox"][0])


def test_average_gain_is_the_share_of_the_missing_confidence_that_masking_gives() -> None:
    found = average_gain(torch.tensor([0.6, 0.6, 0.0, 1.0]), torch.tensor([0.7, 0.2, 1.0, 1.0]))
    np.testing.assert_allclose(found.numpy(), [0.25, 0, 1, np.nan], rtol=1e-6)


def test_the_share_that_is_kept_and_what_hides_the_rest_are_settings() -> None:
    def mean(batch: Tensor, classes: Tensor) -> Tensor:
        return batch.mean((1, 2, 3))

    maps = torch.arange(1.0, 21).view(1, 4, 5)
    image, fill = torch.ones(1, 3, 4, 5), torch.full((1, 3, 4, 5), 0.5)
    given = Explained(maps, image, torch.tensor([0]), torch.tensor([1.0]), maps < 0, fill)
    found = evaluate(["drop"], given, mean, MetricSettings(kept_share=0.4))
    assert found["masked_confidence"].item() == pytest.approx(0.4 * 1 + 0.6 * 0.5)


def test_every_metric_has_a_column_and_shares_the_passes_of_others() -> None:
    calls: list[int] = []

    def confidence(batch: Tensor, classes: Tensor) -> Tensor:
        calls.append(len(batch))
        return batch.mean((1, 2, 3))

    of_maps = explained(torch.rand(3, 4, 5))
    everything = replace(
        of_maps, insertion_start=torch.zeros_like(of_maps.images), of_shifted={(1, 0): torch.rand(3, 4, 5)}
    )
    found = evaluate(METRICS, everything, confidence, MetricSettings(curve_steps=7, batch_size=4))
    assert found.keys() == {metric_column(name) for name in METRICS} | {"masked_confidence"}
    assert calls == [3] + 2 * [4, 4, 4, 4, 4, 1]  # 3 maps x 7 steps, whatever map and step, for each curve
    for name in METRICS:
        alone = evaluate([name], everything, confidence, MetricSettings(curve_steps=7, batch_size=4))
        torch.testing.assert_close(alone[metric_column(name)], found[metric_column(name)], equal_nan=True)
