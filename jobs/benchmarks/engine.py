"""`engine`: the engine against its floor, its peers and the authors' algorithm."""

from collections.abc import Mapping, Sequence

import click
import torch

from benchmarks.contenders import contenders, floor, forwards
from benchmarks.goals import Goal, goals_of_speed
from benchmarks.sheet import console, machine, said, show, write_json
from benchmarks.subjects import DEVICE, MODELS, Subject
from benchmarks.timing import Timed, interleaved, timed
from igcam_batch.worker.device import settle_arithmetic

_LONGEST = 4.0
_TARGETS = 5


@click.command()
@click.option("--model", "names", multiple=True, type=click.Choice(list(MODELS)), help="repeatable  [default: all]")
@click.option(
    "--images", default=8, show_default=True, help="at a time; fewer for what is slow", type=click.IntRange(1)
)
@click.option(
    "--steps", multiple=True, default=(20, 50), show_default=True, help="nodes m; repeatable", type=click.IntRange(1)
)
@click.option("--rounds", default=3, show_default=True, help="counted; one more warms up", type=click.IntRange(1))
@click.option("--seconds", default=_LONGEST, show_default=True, help="a measurement should take at most")
@click.option("--quick", is_flag=True, help="leave the looped peers and integrated gradients out")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def engine(
    names: Sequence[str], images: int, steps: Sequence[int], rounds: int, seconds: float, quick: bool, file: str | None
) -> None:
    """Time a map of each kind for an image of 224 x 224: ours, its floor, and what others would run instead.

    Contenders take turns, round after round, and ratios are medians of those within a round. What would take longer
    than `--seconds` gets fewer images, down to one; a peer that takes longer with one is measured once. Peers and floor
    compute in fp32, which on GPUs keeps the bits that torch would round away.
    """
    measured_on = machine()
    console.print(f"{said(measured_on)}; random images in batches of {images}, median of {rounds} rounds\n")
    settle_arithmetic(DEVICE, "fp32")
    results = {}
    for name in names or MODELS:
        found, goals = _measure(Subject.of(name), images, steps, rounds, seconds, quick=quick)
        show(
            name,
            ["", "images", "rounds", "s/image", "x its floor", "ratio", "to"],
            _rows(found, steps[0]),
        )
        show(f"{name}: targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
        results[name] = {
            "contenders": [_figures(one, found, steps[0]) for one in found.values()],
            "targets": [goal.figures for goal in goals],
        }
    write_json(file, {"machine": measured_on, "images": images, "steps": list(steps), "models": results})


def _measure(
    subject: Subject, count: int, steps: Sequence[int], rounds: int, seconds: float, *, quick: bool
) -> tuple[dict[str, Timed], list[Goal]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 224, 224, generator=generator).to(DEVICE)
    targets = torch.arange(count, device=DEVICE).unsqueeze(1) * _TARGETS + torch.arange(_TARGETS, device=DEVICE)
    forwards(subject.ready("fp32"), images, 1)
    forward = timed(lambda: forwards(subject.ready("fp32"), images, 1)) / count
    found = interleaved(contenders(subject, images, targets, steps, quick=quick), count, rounds, seconds, forward)
    return found, goals_of_speed(found, steps)


def _over_floor(one: Timed, found: Mapping[str, Timed], steps: int) -> float:
    """Its time over that of the forward passes it cannot do without."""
    m = one.contender.passes
    same = found.get(floor(m))
    return one.ratio(same) if same else one.ratio(found[floor(steps)]) * steps / m


def _rows(found: Mapping[str, Timed], steps: int) -> list[list[str]]:
    rows = []
    for one in found.values():
        other = found.get(one.contender.against or "")
        rows.append(
            [
                one.contender.label,
                str(one.images),
                str(len(one.seconds)),
                f"{one.median:.4f}",
                f"{_over_floor(one, found, steps):.2f}",
                f"{one.ratio(other):.3f}" if other else "",
                other.contender.label if other else "",
            ]
        )
    return rows


def _figures(one: Timed, found: Mapping[str, Timed], steps: int) -> dict[str, object]:
    other = found.get(one.contender.against or "")
    return {
        "contender": one.contender.label,
        "images": one.images,
        "seconds_per_image": one.median,
        "rounds": list(one.seconds),
        "over_floor": _over_floor(one, found, steps),
        "compared_with": other.contender.label if other else None,
        "ratio": one.ratio(other) if other else None,
    }
