"""Insertion and deletion: hand-computed areas, a plain loop, and what must make no difference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from igcam_batch.metrics.curves import Curves


def brightness(batch: Tensor, classes: Tensor) -> Tensor:
    """A score that is additive over pixels: the mean of a class's own channel."""
    return batch.mean((2, 3)).gather(1, classes.unsqueeze(1)).squeeze(1)


def curves(images: Tensor, classes: Tensor, steps: int = 4, batch_size: int = 8) -> Curves:
    return Curves(brightness, images, classes, brightness(images, classes), steps, batch_size)


def test_areas_of_an_additive_score_are_those_of_its_steps() -> None:
    """One bright pixel of four: found first it is gone, or there, after one step of four."""
    image = torch.zeros(1, 3, 2, 2)
    image[0, :, 1, 0] = 4
    right, wrong = torch.tensor([[[1.0, 2], [9, 3]]]), torch.tensor([[[4.0, 3], [1, 2]]])
    at = curves(image, torch.tensor([0]))
    nothing = torch.zeros_like(image)
    assert at.deletion(right, nothing).item() == pytest.approx(1 / 8)
    assert at.insertion(right, nothing).item() == pytest.approx(7 / 8)
    assert at.deletion(wrong, nothing).item() == pytest.approx(7 / 8)
    assert at.insertion(wrong, nothing).item() == pytest.approx(1 / 8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 12), batch_size=st.integers(1, 40), levels=st.integers(1, 200))
def test_they_equal_a_loop_over_maps_and_steps(seed: int, steps: int, batch_size: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    maps = generator.integers(0, levels, (3, 5, 7)).astype(np.float32)
    maps[:, 0, 0] = levels
    images, fill = generator.random((2, 3, 3, 5, 7)).astype(np.float32)
    classes = generator.integers(0, 3, 3)
    at = curves(torch.from_numpy(images), torch.from_numpy(classes), steps, batch_size)
    found = [
        of_maps.numpy()
        for of_maps in (
            at.deletion(torch.from_numpy(maps), torch.from_numpy(fill)),
            at.insertion(torch.from_numpy(maps), torch.from_numpy(fill)),
        )
    ]
    for n in range(3):
        order = np.argsort(-maps[n].ravel(), kind="stable")
        for place, (before, after) in enumerate(((images[n], fill[n]), (fill[n], images[n]))):
            scores = []
            for step in range(steps + 1):
                mixed = before.reshape(3, -1).copy()
                taken = order[: round(np.float32(step * 35) / np.float32(steps))]
                mixed[:, taken] = after.reshape(3, -1)[:, taken]
                scores.append(mixed[classes[n]].mean())
            area = sum((scores[t] + scores[t + 1]) / 2 for t in range(steps)) / steps
            assert found[place][n] == pytest.approx(area, rel=1e-4)


def test_passes_are_full_whatever_map_and_step_they_are_of_and_the_image_itself_is_not_asked_about() -> None:
    batches: list[int] = []

    def counted(batch: Tensor, classes: Tensor) -> Tensor:
        batches.append(len(batch))
        return brightness(batch, classes)

    images = torch.rand(5, 3, 4, 4)
    at = Curves(counted, images, torch.zeros(5, dtype=torch.int64), torch.rand(5), steps=7, batch_size=16)
    at.deletion(torch.rand(5, 4, 4), torch.zeros_like(images))
    assert batches == [16, 16, 3]


def test_a_map_of_zero_has_no_value_and_leaves_the_others_theirs() -> None:
    images, classes = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    maps = torch.rand(2, 4, 4)
    alone = curves(images[1:], classes[1:]).deletion(maps[1:], torch.zeros(1, 3, 4, 4))
    maps[0] = 0
    found = curves(images, classes).deletion(maps, torch.zeros(2, 3, 4, 4))
    assert found[0].isnan()
    torch.testing.assert_close(found[1:], alone)
