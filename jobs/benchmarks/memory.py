"""`memory`: whether the process grows from batch to batch."""

import resource
import sys
from pathlib import Path

import click
import torch

from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from benchmarks.subjects import DEVICE, MODELS, Subject
from igcam_batch.attribution.quadrature import gauss_lobatto

_SLACK = 1.01  # of the allocator's own coming and going
_MIB = 2**20


@click.command()
@click.option("--model", "name", default="efficientnet-lite0", show_default=True, type=click.Choice(list(MODELS)))
@click.option("--images", default=4, show_default=True, help="in a batch", type=click.IntRange(1))
@click.option("--batches", default=200, show_default=True, type=click.IntRange(20))
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def memory(name: str, images: int, batches: int, file: str | None) -> None:
    """Explain batch after batch by three methods, and compare the memory held after 20 with that after all.

    On a CPU it is the resident set of the process; on a GPU what its tensors occupy.
    """
    measured_on = machine()
    subject = Subject.of(name)
    size = subject.recipe.size
    explainer = subject.explainer(
        ["integrated-grad-cam", "grad-cam", "grad-cam++"], gauss_lobatto(4), torch.zeros(3, size, size, device=DEVICE)
    )
    held: list[int] = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(batches):
        prediction = explainer.predict(torch.randn(images, 3, size, size, generator=generator).to(DEVICE))
        explainer.explain(prediction, prediction.logits.topk(2).indices)
        held.append(held_memory())
    marks = sorted({1, 20, batches // 2, batches})
    console.print(f"{said(measured_on)}\n")
    show(
        f"{name}: memory held",
        ["after batches", "MiB"],
        [[str(mark), f"{held[mark - 1] / _MIB:.1f}"] for mark in marks],
    )
    goal = Goal.at_most(f"memory after {batches} batches over that after 20", _SLACK, held[-1] / held[19])
    show("targets", ["", "wanted", "measured", ""], [goal.row])
    write_json(file, {"machine": measured_on, "model": name, "bytes": held, "targets": [goal.figures]})


def held_memory() -> int:
    """Bytes: of tensors on a GPU; else the resident set, or its peak where there is no /proc."""
    if DEVICE.type == "cuda":
        return torch.cuda.memory_allocated()
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
