"""The automatic batch size: what fits, by a line through two small batches."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from igcam_batch.worker.batch_size import BatchSize, automatic_batch_size, largest_batch, most_at_once

MIB = 1 << 20


@given(fixed=st.integers(0, 4000), each=st.integers(1, 500), memory=st.integers(1, 80_000))
def test_it_is_the_largest_power_of_two_that_fits_four_fifths_of_the_memory(fixed: int, each: int, memory: int) -> None:
    def peak(images: int) -> int:
        return (fixed + each * images) * MIB

    found = largest_batch(peak, memory * MIB)
    fitting = [2**power for power in range(9) if peak(2**power) <= 0.8 * memory * MIB]
    assert found == (fitting[-1] if fitting else 1)


def test_only_small_batches_are_tried() -> None:
    tried: list[int] = []

    def peak(images: int) -> int:
        tried.append(images)
        return images * MIB

    largest_batch(peak, 80_000 * MIB)
    assert max(tried) <= 4


def test_a_network_that_takes_no_memory_gets_the_largest_batch_there_is() -> None:
    assert largest_batch(lambda images: 0, MIB) == 256


def test_large_images_are_fewer_at_a_time() -> None:
    assert [most_at_once((3, side, side)) for side in (32, 224, 448, 3000, 9000)] == [256, 256, 64, 1, 1]
    assert largest_batch(lambda images: 0, MIB, most_at_once((3, 448, 448))) == 64


def test_where_memory_stays_short_more_is_tried_ever_more_seldom() -> None:
    size, sizes = BatchSize(64), []
    for _ in range(20):
        now = size.begin_shard()
        sizes.append(now)
        while now > 16:
            now = size.halve()
    assert sizes == [64, 32, 16, 32, *[16] * 3, 32, *[16] * 7, 32, *[16] * 4]


def test_on_cpus_it_is_what_caches_hold_and_nothing_is_run() -> None:
    nothing = None
    assert automatic_batch_size(nothing, (3, 8, 8), 1, torch.device("cpu"), 1.0) == 8  # type: ignore[arg-type]


if torch.cuda.is_available():

    def test_on_a_gpu_it_is_measured() -> None:
        from torchvision.models import resnet18

        from igcam_batch.attribution.explainer import Explainer
        from igcam_batch.attribution.quadrature import RULES

        device = torch.device("cuda")
        explainer = Explainer(
            resnet18().eval().requires_grad_(False).to(device),
            "layer4",
            methods=("integrated-grad-cam",),
            along=RULES["riemann"](4),
            baselines=[torch.zeros(3, 224, 224, device=device)],
            score="logit",
            confidence="softmax",
            batch_size=1,
        )
        whole = automatic_batch_size(explainer, (3, 224, 224), 1, device, 1.0)
        assert whole >= automatic_batch_size(explainer, (3, 224, 224), 1, device, 0.01) >= 1
