"""`job`: the whole job beside the engine and a worker alone, on the same images and device, and what images cost."""

import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import click
from PIL import Image

from benchmarks.alone import Way, engine_alone, worker_alone
from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from benchmarks.subjects import DEVICE, MODELS, PRECISIONS
from igcam_batch.attribution.explainer import default_batch_size
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.names import MethodName, PrecisionName, RuleName

_SIDE = 500  # pixels of the longer side, as ImageNet's mostly are
_PACE = re.compile(r"; (\d+\.\d) s, (\d+\.\d) of them explaining at (\d+\.\d+) images/s")
_DATASETS = {"ImageNet val": 50_000, "ImageNet train": 1_281_167, "100 million": 100_000_000}
_HOUR = 3600.0
_ENOUGH = (250,) if DEVICE.type == "cpu" else (20_000,)  # images that take more than a start
_BATCHES = {"cpu": 2, "cuda": 8}  # of the default size that a worker alone has at a time; GPUs hold larger ones
_LOBATTO_NODES = 5
_IMAGES, _AUDIT = "images", "audit"


@dataclass(frozen=True)
class Ran:
    """An audit, and what it is measured against.

    Attributes:
        images: of it.
        engine: images per second of the engine alone, decoded images in memory: mean of before and after.
        worker: images per second of a worker alone, which computes metrics and rows, too; after the audit.
        job: images per second of the audit while it explained.
        seconds: of the audit in all.
        explaining: of these, from the first worker's having images and the model to the last commit.
        bytes: of scores and heatmaps, for an image and method.
    """

    images: int
    engine: float
    worker: float
    job: float
    seconds: float
    explaining: float
    bytes: float

    @property
    def ratio(self) -> float:
        """The job's pace over the engine's."""
        return self.job / self.engine

    @property
    def of_worker(self) -> float:
        """The job's pace over a worker's alone."""
        return self.job / self.worker

    @property
    def row(self) -> list[str]:
        """For a table."""
        return [
            *(str(self.images), f"{self.engine:.2f}", f"{self.worker:.2f}", f"{self.job:.2f}", f"{self.ratio:.3f}"),
            *(f"{self.of_worker:.3f}", f"{self.seconds:.1f}", f"{self.seconds - self.explaining:.1f}"),
            f"{self.bytes:.0f}",
        ]


_HEADERS = [
    *("images", "engine, images/s", "worker, images/s", "job, images/s", "job / engine", "job / worker", "s in all"),
    *("of these starting and ending", "bytes an image x method"),
]


@click.command()
@click.option("--model", "name", default="efficientnet-lite0", show_default=True, type=click.Choice(list(MODELS)))
@click.option("--images", "counts", multiple=True, default=_ENOUGH, show_default=True, type=click.IntRange(2))
@click.option("--steps", default=50, show_default=True, type=click.IntRange(1))
@click.option("--precision", default="tf32", show_default=True, type=click.Choice(get_args(PrecisionName)))
@click.option("--seconds", default=10.0, show_default=True, help="that each pace of what is alone is measured for")
@click.option(
    "--price",
    default=0.1,
    show_default=True,
    help="of a worker for an hour; this is two CPUs'",
    type=click.FloatRange(0),
)
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def job(
    name: str,
    counts: tuple[int, ...],
    steps: int,
    precision: PrecisionName,
    seconds: float,
    price: float,
    file: str | None,
) -> None:
    """Audit photographs of ImageNet's size with one worker, and explain the same ones without anything around it.

    --images may be given several times, to see that costs grow in proportion. The engine alone makes maps; a worker
    alone their metrics and rows, too. What datasets would cost is computed from a worker's pace for each method and
    precision, times the share of it that the largest audit reached.
    """
    measured_on = machine()
    console.print(f"{said(measured_on)}; {name}, Integrated Grad-CAM, riemann {steps}, {precision}\n")
    photographs = list(_photographs())
    bench = _Bench(name, photographs, steps, precision, seconds)
    with tempfile.TemporaryDirectory(prefix="igcam-job-") as directory:
        runs = []
        for number, images in enumerate(counts):
            runs.append(bench.run(Path(directory) / str(number), images))
            console.print(
                f"{images} images: job over engine {runs[-1].ratio:.3f}, over worker {runs[-1].of_worker:.3f}"
            )
        largest = max(runs, key=lambda one: one.images)
        ways = _ways(steps)
        paces = bench.worker(Path(directory) / "0", list(ways.values()))
    rates = {label: pace * min(1.0, largest.of_worker) for label, pace in zip(ways, paces, strict=True)}
    console.print()
    show("the job beside the engine and a worker alone", _HEADERS, [one.row for one in runs])
    show(
        f"worker-hours, and their price at {price:g} for one: computed from measured rates, not run",
        ["method, precision", "images/s", *_DATASETS],
        _costs(rates, price),
    )
    goals = [Goal.at_least("the job's images/s over the engine's", 0.92, largest.ratio)]
    show("targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
    figures = {"machine": measured_on, "model": name, "steps": steps, "precision": precision}
    figures |= {"runs": [asdict(one) for one in runs], "images_per_second": rates}
    write_json(file, figures | {"targets": [goal.figures for goal in goals]})


class _Bench:
    """One network and one set of photographs.

    Args:
        name: of `MODELS`.
        photographs: JPEGs.
        steps: along the path.
        precision: arithmetic of the network.
        seconds: that each pace of what is alone is measured for.
    """

    def __init__(
        self, name: str, photographs: list[bytes], steps: int, precision: PrecisionName, seconds: float
    ) -> None:
        self._name, self._photographs = name, photographs
        self._steps, self._precision, self._seconds = steps, precision, seconds
        self._for_worker = default_batch_size(DEVICE) * _BATCHES[DEVICE.type]

    def run(self, directory: Path, images: int) -> Ran:
        """One audit between two runs of the engine, and then of a worker on the same images."""
        source, output = directory / _IMAGES, directory / _AUDIT
        source.mkdir(parents=True)
        for number in range(images):
            (source / f"{number:07d}.jpg").write_bytes(self._photographs[number % len(self._photographs)])
        before = self._engine()
        seconds, explaining, pace = self._audit(source, output)
        after = self._engine()
        (worker,) = self.worker(directory, [("integrated-grad-cam", "riemann", self._steps, self._precision)])
        tables = [*output.glob("scores/*.parquet"), *output.glob("heatmaps/*.parquet")]
        size = sum(path.stat().st_size for path in tables)
        return Ran(images, (before + after) / 2, worker, pace, seconds, explaining, size / images)

    def worker(self, directory: Path, ways: Sequence[Way]) -> list[float]:
        """Images per second of a worker alone, on the images of an audit that `run` made there."""
        source, output = directory / _IMAGES, directory / _AUDIT
        return worker_alone(self._name, source, output, self._for_worker, ways, self._seconds)

    def _engine(self) -> float:
        return engine_alone(self._name, self._photographs, self._steps, self._precision, self._seconds)

    def _audit(self, source: Path, output: Path) -> tuple[float, float, float]:
        """Seconds in all, seconds of explaining, and images per second, as the audit says them."""
        model, weights = MODELS[self._name]
        command = [sys.executable, "-m", "igcam_batch", "audit", str(source), str(output), "--model", model]
        settings = ["--weights", weights, "--steps", str(self._steps), "--precision", self._precision]
        settings += ["--workers", "1"]  # what is alone is one, too
        printed = subprocess.run([*command, *settings], capture_output=True, text=True, check=True).stdout
        found = _PACE.search(printed)
        assert found, printed
        return float(found[1]), float(found[2]), float(found[3])


def _ways(steps: int) -> dict[str, Way]:
    """Method and precision, as people read them -> what is run."""
    nodes = max(2, min(steps, _LOBATTO_NODES))
    methods: list[tuple[str, MethodName, RuleName, int]] = [
        ("Grad-CAM", "grad-cam", "riemann", 1),
        ("Grad-CAM++", "grad-cam++", "riemann", 1),
        (f"Integrated Grad-CAM, gauss-lobatto {nodes}", "integrated-grad-cam", "gauss-lobatto", nodes),
        (f"Integrated Grad-CAM, riemann {steps}", "integrated-grad-cam", "riemann", steps),
    ]
    return {
        f"{label}, {precision}": (method, rule, count, precision)
        for label, method, rule, count in methods
        for precision in PRECISIONS
    }


def _costs(rates: dict[str, float], price: float) -> list[list[str]]:
    """Rows of a table: hours of a worker for each dataset, and in brackets their price."""
    return [
        [
            label,
            f"{rate:.2f}",
            *(_hours_and_price(images / rate / _HOUR, price) for images in _DATASETS.values()),
        ]
        for label, rate in rates.items()
    ]


def _hours_and_price(hours: float, price: float) -> str:
    of_three_digits = (f"{float(f'{amount:.3g}'):,.15g}" for amount in (hours, hours * price))
    return "{} ({})".format(*of_three_digits)


def _photographs() -> Iterator[bytes]:
    """The demo's, as JPEGs of the size that ImageNet's have."""
    with tempfile.TemporaryDirectory() as directory:
        write_photographs(Path(directory))
        for path in sorted(Path(directory).rglob("JPEGImages/*")):
            image = Image.open(path).convert("RGB")
            image.thumbnail((_SIDE, _SIDE))
            sink = io.BytesIO()
            image.save(sink, "JPEG", quality=90)
            yield sink.getvalue()
