"""Table 1 of "Integrated Grad-CAM" (Sattarzadeh et al., ICASSP 2021), measured again, beside the paper's own figures.

    python jobs/voc2007.py --voc VOCdevkit --checkpoint vgg16_voc.pth.tar --checkpoint resnet50_voc.pth.tar

An audit of each model, one row for each image, class present and method. Run again, it goes on where it was.
"""

import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from package import find_package

find_package()

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.cli.console import LineView
from igcam_batch.cli.endings import ending_in_one_line
from igcam_batch.config import AuditConfig, BaselineImage, load_config
from igcam_batch.errors import InputError
from igcam_batch.images import DecodeError, Recipe, decode
from igcam_batch.models import load_model
from igcam_batch.models.weights import read_state_dict
from igcam_batch.names import PAPER_METRICS, MethodName
from igcam_batch.report.summary import overall, write_summary
from igcam_batch.sources import Wanted, find_place, open_source
from igcam_batch.sources.fetch import fetch
from igcam_batch.words import amount_in_words
from igcam_batch.worker.preprocess import Preprocess

METHODS: tuple[MethodName, ...] = ("grad-cam", "grad-cam++", "integrated-grad-cam")
PAPER: Mapping[str, Mapping[MethodName, tuple[float, ...]]] = {
    "torchray:vgg16_voc": {
        "grad-cam": (55.44, 51.7, 49.47, 31.08),
        "grad-cam++": (46.29, 55.59, 60.63, 23.89),
        "integrated-grad-cam": (55.94, 55.6, 47.96, 31.47),
    },
    "torchray:resnet50_voc": {
        "grad-cam": (60.08, 60.25, 35.80, 36.58),
        "grad-cam++": (47.78, 58.66, 41.77, 32.15),
        "integrated-grad-cam": (60.41, 61.94, 34.49, 36.84),
    },
}
"""Model -> method -> EBPG, Bbox, Drop, Increase, in percent: the order of `PAPER_METRICS`."""

PAPER_RATIO = 4.85  # Integrated Grad-CAM's time to Grad-CAM's, sec. 4.3, m = 20
_TIMED_STEPS = 20
_ROUNDS = 3

console = Console(width=130, highlight=False)


@dataclass(frozen=True)
class Subject:
    """A model that is tried.

    Attributes:
        model: its reference.
        weights: as `--weights` has them.
    """

    model: str
    weights: str

    @property
    def directory(self) -> str:
        """Where its audit goes, below --output."""
        return self.model.replace(":", "-").replace("/", "-")


@click.command()
@click.option("--voc", required=True, metavar="DIR", help="VOCdevkit, or the directory of one year")
@click.option("--checkpoint", multiple=True, metavar="PATH", help="TorchRay's vgg16_voc or resnet50_voc; repeatable")
@click.option(
    "--model", multiple=True, metavar="REF", help="any other model, as `igcam-batch audit` takes it; repeatable"
)
@click.option("--class-map", metavar="FILE", help="VOC's class names -> those of --model")
@click.option("--image-set", default="2007/test", show_default=True, metavar="NAME", help="'all' for every image")
@click.option("--output", default="voc2007", show_default=True, metavar="DIR", help="the audits go below it")
@click.option("--steps", default=50, show_default=True, metavar="N", help="m, of the right Riemann sum")
@click.option("--limit", type=int, metavar="N", help="the first N images only")
@click.option(
    "--timed-images", default=8, show_default=True, metavar="N", help="images the times are taken on; 0: none"
)
def main(
    voc: str,
    checkpoint: tuple[str, ...],
    model: tuple[str, ...],
    class_map: str | None,
    image_set: str,
    output: str,
    steps: int,
    limit: int | None,
    timed_images: int,
) -> None:
    """Grad-CAM, Grad-CAM++ and Integrated Grad-CAM on Pascal VOC, by the paper's four metrics, and what they cost."""
    with ending_in_one_line("voc2007"):
        subjects = [Subject(_torchray(path), path) for path in checkpoint] + [Subject(one, "DEFAULT") for one in model]
        if not subjects:
            raise InputError("name a --checkpoint of TorchRay's, or a --model")
        part = None if image_set == "all" else image_set
        shared = {"input": voc, "layout": "voc", "image-set": part, "class-map": class_map, "limit": limit}
        for subject in subjects:
            settings = {"model": subject.model, "weights": subject.weights, "method": METHODS, "target": "labels"}
            given = shared | settings | {"steps": steps, "output": f"{output.rstrip('/')}/{subject.directory}"}
            config = load_config({name: value for name, value in given.items() if value is not None})
            with LineView() as view:
                summary = run_audit(config, view)
            console.print(_heading(subject, summary), _table(subject, summary), "", sep="\n")
            if timed_images:
                console.print(_times(config, timed_images), "", sep="\n")


def _torchray(checkpoint: str) -> str:
    """The network of a checkpoint, by the names in it."""
    names = read_state_dict(checkpoint)
    return "torchray:vgg16_voc" if any(name.startswith("features.") for name in names) else "torchray:resnet50_voc"


def _heading(subject: Subject, summary: Summary) -> str:
    """Of how many images and maps the table is."""
    done = summary.status
    maps = amount_in_words(done.rows // len(METHODS), "map")
    failures = amount_in_words(done.failed, "failure")
    return f"{subject.model}: {amount_in_words(done.scored, 'image')}, {maps} by each method, {failures}"


def _table(subject: Subject, summary: Summary) -> Table:
    """Ours, the paper's and the difference, in percent, for each method."""
    means = overall(write_summary(summary.output))
    table = Table(box=None, pad_edge=False)
    table.add_column("%")
    for method in METHODS:
        for heading in (method, "paper", "diff.") if subject.model in PAPER else (method,):
            table.add_column(heading, justify="right", no_wrap=True)
    for place, metric in enumerate(PAPER_METRICS):
        cells: list[str] = []
        for method in METHODS:
            found = means.get(method, {}).get(metric, {})
            theirs = PAPER.get(subject.model, {}).get(method)
            cells += [_mean(found), *_beside(found, theirs[place])] if theirs else [_mean(found)]
        table.add_row(metric, *cells)
    return table


def _mean(row: Mapping[str, Any]) -> str:
    """A mean and half the width of its interval."""
    if row.get("mean") is None:
        return "-"
    half = "" if row["low"] is None else f" ± {50 * (row['high'] - row['low']):.2f}"
    return f"{100 * row['mean']:.2f}{half}"


def _beside(row: Mapping[str, Any], theirs: float) -> tuple[str, str]:
    """The paper's figure, and ours less it."""
    ours = row.get("mean")
    return f"{theirs:.2f}", "" if ours is None else f"{100 * ours - theirs:+.2f}"


def _times(config: AuditConfig, images: int) -> str:
    """Seconds an image of Grad-CAM and of Integrated Grad-CAM with m = 20, one image at a time, in turn."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(config)
    preprocess = Preprocess(model.recipe, device)
    inputs = preprocess(_pixels(config, model.recipe, images))
    module = model.module.to(device).to(memory_format=torch.channels_last)
    explainers = [
        Explainer(
            module,
            model.layer,
            methods=(method,),
            along=RULES["riemann"](_TIMED_STEPS),
            baselines=[preprocess.baseline(BaselineImage((0.0, 0.0, 0.0)))],
            score=config.score,
            confidence=model.confidence,
            batch_size=_TIMED_STEPS,
        )
        for method in ("grad-cam", "integrated-grad-cam")
    ]
    seconds: list[list[float]] = [[], []]
    for number in range(-1, _ROUNDS * len(inputs)):
        for explainer, taken in zip(explainers, seconds, strict=True):
            began = time.perf_counter()
            prediction = explainer.predict(inputs[number % len(inputs)].unsqueeze(0))
            explainer.explain(prediction, prediction.logits.argmax(1, keepdim=True))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= 0:  # the first warms up
                taken.append(time.perf_counter() - began)
    once, integrated = (statistics.median(taken) for taken in seconds)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return (
        f"time for an image, one at a time, on {where}: Grad-CAM {1000 * once:.1f} ms, Integrated Grad-CAM with m = "
        f"{_TIMED_STEPS} {1000 * integrated:.1f} ms, {integrated / once:.2f} times (the paper's: {PAPER_RATIO} times)"
    )


def _pixels(config: AuditConfig, recipe: Recipe, images: int) -> np.ndarray:
    """(n, 3, size, size) uint8 of the first images that can be read."""
    found: list[np.ndarray] = []
    place = find_place(config.input, follow_links=config.follow_links)
    for table in open_source(place, config.layout, Wanted(config.image_set)).tables:
        for _, data in fetch(table.slice(0, images).to_pylist()):
            with suppress(DecodeError):
                if not isinstance(data, OSError):
                    found.append(recipe.pixels(decode(data, config.max_pixels)))
        if len(found) >= images:
            break
    if not found:
        raise InputError(f"--voc {config.input}: none of its images can be read, to take the times on")
    return np.stack(found[:images])


if __name__ == "__main__":
    main()
