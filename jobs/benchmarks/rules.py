"""`rules`: what each quadrature rule gives for its price, on a pretrained network and real photographs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click
import torch
from torch import Tensor

from benchmarks.goals import Goal
from benchmarks.peers import authors_algorithm
from benchmarks.photographs import read_photographs
from benchmarks.settings import Bench, Explanations, Setting, parsed, relative_errors, shapes
from benchmarks.sheet import machine, said, show, write_json
from benchmarks.subjects import DEVICE, Subject
from benchmarks.timing import timed
from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.upsample import upsample
from igcam_batch.metrics.faithfulness import highest_pixels
from igcam_batch.names import PAPER_METRICS, ScoreName
from igcam_batch.worker.device import settle_arithmetic

MODEL = "efficientnet-lite0"
SETTINGS = (
    *("riemann:10", "riemann:20", "riemann:50"),
    *("trapezoid:5", "trapezoid:10", "trapezoid:20"),
    *("gauss-legendre:3", "gauss-legendre:5", "gauss-legendre:8", "gauss-legendre:10", "gauss-legendre:20"),
    *("gauss-lobatto:3", "gauss-lobatto:5", "gauss-lobatto:6", "gauss-lobatto:8", "gauss-lobatto:10"),
    *("adaptive:0.2", "adaptive:0.1", "adaptive:0.05", "adaptive:0.02"),
    *("riemann:20:bf16", "gauss-legendre:5:bf16", "gauss-legendre:10:bf16"),
    *("gauss-lobatto:5:bf16", "gauss-lobatto:6:bf16", "gauss-lobatto:8:bf16", "gauss-lobatto:10:bf16"),
)
_AUTHORS_STEPS = 50
_AUTHORS_IMAGES = 2
_CLOSE = 0.2  # points
_FAST = 60.0


@dataclass(frozen=True)
class Measured:
    """What a setting gives against the reference.

    Attributes:
        setting: which.
        nodes: mean number of quadrature nodes.
        passes: forward passes for an image, the prediction's among them.
        milliseconds: for an image, without metrics.
        speed: the authors' algorithm's time over its own.
        error: median relative L2 error of a map.
        error_of_shape: the same with both maps at norm 1.
        overlap: mean IoU of the 15 % highest pixels of the upsampled maps.
        changes: mean absolute change of each metric, in points.
        shifts: change of each metric's mean over the data set, in points.
    """

    setting: Setting
    nodes: float
    passes: float
    milliseconds: float
    speed: float
    error: float
    error_of_shape: float
    overlap: float
    changes: Mapping[str, float]
    shifts: Mapping[str, float]

    @property
    def close(self) -> bool:
        """Whether every data set mean is where the reference has it."""
        return all(abs(shift) <= _CLOSE for shift in self.shifts.values() if shift == shift)

    @property
    def name(self) -> list[str]:
        """For a table: rule, nodes, precision."""
        nodes = (
            self.setting.nodes
            if self.setting.name != "adaptive"
            else f"{self.nodes:.1f} (tolerance {self.setting.nodes})"
        )
        return [self.setting.name, nodes, self.setting.precision]

    @property
    def figures(self) -> dict[str, object]:
        """For a file."""
        return {
            "rule": self.setting.name,
            "asked": self.setting.nodes,
            "precision": self.setting.precision,
            "nodes": self.nodes,
            "passes": self.passes,
            "milliseconds_per_image": self.milliseconds,
            "times_as_fast_as_authors": self.speed,
            "relative_error": self.error,
            "relative_error_of_shape": self.error_of_shape,
            "overlap": self.overlap,
            "changes": dict(self.changes),
            "shifts_of_means": dict(self.shifts),
        }


@click.command()
@click.option("--photographs", "directories", multiple=True, help="a directory of more of them; repeatable")
@click.option("--setting", "texts", multiple=True, default=SETTINGS, help="RULE:NODES[:bf16] or adaptive:TOLERANCE")
@click.option("--reference", default=200, show_default=True, help="Gauss-Legendre nodes", type=click.IntRange(1))
@click.option("--score", default="logit", show_default=True, type=click.Choice(["logit", "probability"]))
@click.option("--rounds", default=3, show_default=True, help="of timing", type=click.IntRange(1))
@click.option("--markdown", is_flag=True, help="tables for a page")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def rules(
    directories: Sequence[str],
    texts: Sequence[str],
    reference: int,
    score: ScoreName,
    rounds: int,
    markdown: bool,
    file: str | None,
) -> None:
    """Compare rules with a fine Gauss-Legendre integral: error of the map, of the metrics, and time.

    The network is EfficientNet-Lite0 with its ImageNet weights; the photographs are the demo's six, and those of
    `--photographs`. EBPG and Bbox take all boxes of a photograph, where it has some, as the object.
    """
    settings = parsed(texts)
    settle_arithmetic(DEVICE, "fp32")
    subject = Subject.of(MODEL)
    photographs = read_photographs(subject.recipe, directories)
    bench = Bench(subject, photographs, score)
    exact = bench.explain(bench.explainer(Setting.parse(f"gauss-legendre:{reference}")))
    explainers = [bench.explainer(setting) for setting in settings]
    found = [bench.explain(explainer) for explainer in explainers]
    seconds, authors = _times(bench, subject, explainers, rounds)
    measured = [
        _measured(setting, explanations, exact, of_setting, authors, bench.images.shape[-1])
        for setting, explanations, of_setting in zip(settings, found, seconds, strict=True)
    ]
    boxes = int(photographs.objects.any(-1).any(-1).sum())
    measured_on = machine()
    print(
        f"{said(measured_on)}; {MODEL}, {len(bench.images)} photographs, {boxes} of them with boxes, score = {score}; "
        f"the reference has {reference} Gauss-Legendre nodes; the authors' algorithm at m = {_AUTHORS_STEPS} takes "
        f"{1000 * statistics.median(authors):.0f} ms/image\n"
    )
    _show_maps(measured, markdown=markdown)
    _show_means(measured, exact, markdown=markdown)
    goals = _goals(measured)
    show("Targets", ["", "wanted", "measured", ""], [goal.row for goal in goals], markdown=markdown)
    figures = {
        "machine": measured_on,
        "photographs": len(bench.images),
        "with_boxes": boxes,
        "score": score,
        "reference": {"nodes": reference, "means": _means(exact)},
        "authors_seconds_per_image": statistics.median(authors),
        "settings": [one.figures for one in measured],
        "targets": [goal.figures for goal in goals],
    }
    write_json(file, figures)


def _times(
    bench: Bench, subject: Subject, explainers: Sequence[Explainer], rounds: int
) -> tuple[list[list[float]], list[float]]:
    """Seconds for an image, of each explainer, which has run before, and of the authors' algorithm, round by round."""
    notebook = authors_algorithm(subject.loaded, subject.layer)
    some = slice(_AUTHORS_IMAGES)
    seconds: list[list[float]] = [[] for _ in explainers]
    authors = []
    for _ in range(rounds):
        authors.append(
            timed(lambda: notebook(bench.images[some], bench.targets[some], _AUTHORS_STEPS)) / _AUTHORS_IMAGES
        )
        for explainer, of_setting in zip(explainers, seconds, strict=True):
            of_setting.append(timed(lambda explainer=explainer: bench.maps(explainer)) / len(bench.images))  # type: ignore[misc]
    return seconds, authors


def _measured(
    setting: Setting,
    found: Explanations,
    exact: Explanations,
    seconds: Sequence[float],
    authors: Sequence[float],
    side: int,
) -> Measured:
    highest = [highest_pixels(upsample(maps, (side, side))) for maps in (found.maps, exact.maps)]
    overlap = (highest[0] & highest[1]).sum((1, 2)) / (highest[0] | highest[1]).sum((1, 2))
    means, exact_means = _means(found), _means(exact)
    return Measured(
        setting=setting,
        nodes=float(found.nodes.double().mean()),
        passes=setting.passes(found.nodes),
        milliseconds=1000 * statistics.median(seconds),
        speed=statistics.median(theirs / mine for theirs, mine in zip(authors, seconds, strict=True)),
        error=float(relative_errors(found.maps, exact.maps).median()),
        error_of_shape=float(relative_errors(shapes(found.maps), shapes(exact.maps)).median()),
        overlap=float(overlap.mean()),
        changes={name: _mean((found.metrics[name] - exact.metrics[name]).abs()) for name in PAPER_METRICS},
        shifts={name: means[name] - exact_means[name] for name in PAPER_METRICS},
    )


def _means(found: Explanations) -> dict[str, float]:
    return {name: _mean(values) for name, values in found.metrics.items()}


def _mean(values: Tensor) -> float:
    return float(torch.nanmean(values.double()))


def _show_maps(measured: Sequence[Measured], *, markdown: bool) -> None:
    headers = ["rule", "nodes", "precision", "passes", "ms/image", "L2 error", "of shape", "top 15 % IoU"]
    show(
        "Each map against the reference; changes of metrics in points, mean over photographs",
        [*headers, *(f"|Δ {name}|" if not markdown else f"Δ {name}" for name in PAPER_METRICS)],
        [
            [
                *one.name,
                f"{one.passes:.1f}".removesuffix(".0"),
                f"{one.milliseconds:.1f}",
                f"{one.error:.4f}",
                f"{one.error_of_shape:.4f}",
                f"{one.overlap:.3f}",
                *(f"{one.changes[name]:.2f}" for name in PAPER_METRICS),
            ]
            for one in measured
        ],
        markdown=markdown,
    )


def _show_means(measured: Sequence[Measured], exact: Explanations, *, markdown: bool) -> None:
    means = _means(exact)
    show(
        "Means over the photographs, in points: the reference's, and by how much others differ",
        ["rule", "nodes", "precision", *PAPER_METRICS, f"within {_CLOSE}", "x authors' speed"],
        [
            ["reference", "", "fp32", *(f"{means[name]:.2f}" for name in PAPER_METRICS), "", ""],
            *(
                [
                    *one.name,
                    *(f"{one.shifts[name]:+.2f}" for name in PAPER_METRICS),
                    "yes" if one.close else "no",
                    f"{one.speed:.1f}",
                ]
                for one in measured
            ),
        ],
        markdown=markdown,
    )


def _goals(measured: Sequence[Measured]) -> list[Goal]:
    """The fastest setting whose data set means are close enough."""
    close = [one for one in measured if one.close]
    if not close:
        return [Goal.at_least(f"a setting within {_CLOSE} points, times as fast as the authors' algorithm", _FAST, 0.0)]
    best = max(close, key=lambda one: one.speed)
    what = f"within {_CLOSE} points, times as fast as the authors' algorithm at m = {_AUTHORS_STEPS}"
    return [Goal.at_least(f"{what}: {' '.join(best.name)}", _FAST, best.speed)]
