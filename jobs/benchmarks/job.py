"""`job`: the whole job beside the engine alone, on the same images and cores, and what so many images cost."""

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from PIL import Image

from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from benchmarks.subjects import MODELS, Subject
from igcam_batch.attribution.explainer import default_batch_size
from igcam_batch.attribution.quadrature import Quadrature, gauss_lobatto, riemann
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.images.decode import decode
from igcam_batch.names import MethodName, PrecisionName

_SIDE = 500  # pixels of the longer side, as ImageNet's mostly are
_MOST_PIXELS = 2**27
_PACE = re.compile(r"; (\d+\.\d) s, (\d+\.\d) of them explaining at (\d+\.\d+) images/s")
_DATASETS = {"ImageNet val": 50_000, "ImageNet train": 1_281_167, "100 million": 100_000_000}
_HOUR = 3600.0
_FOR_RATES = 16  # images by which the pace of a method is measured


@dataclass(frozen=True)
class Ran:
    """An audit, and the engine before and after it.

    Attributes:
        images: of it.
        engine: images per second of the engine alone, decoded images in memory: mean of before and after.
        job: images per second of the audit while it explained.
        seconds: of the audit in all.
        explaining: of these, from the first worker's having images and the model to the last commit.
        bytes: of scores and heatmaps, for an image and method.
    """

    images: int
    engine: float
    job: float
    seconds: float
    explaining: float
    bytes: float

    @property
    def ratio(self) -> float:
        """The job's pace over the engine's."""
        return self.job / self.engine


@click.command()
@click.option("--model", "name", default="efficientnet-lite0", show_default=True, type=click.Choice(list(MODELS)))
@click.option("--images", "counts", multiple=True, default=(250,), show_default=True, type=click.IntRange(2))
@click.option("--steps", default=50, show_default=True, type=click.IntRange(1))
@click.option("--price", default=2.5, show_default=True, help="of a worker for an hour", type=click.FloatRange(0))
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def job(name: str, counts: tuple[int, ...], steps: int, price: float, file: str | None) -> None:
    """Audit photographs of ImageNet's size, and explain the same ones without anything around it.

    --images may be given several times, to see that costs grow in proportion. What datasets would cost is computed from
    the engine's pace for each method and precision, times the share of it that the largest audit reached.
    """
    measured_on = machine()
    bench = _Bench(name, steps)
    console.print(f"{said(measured_on)}; {name}, Integrated Grad-CAM, riemann {steps}\n")
    runs = []
    with tempfile.TemporaryDirectory(prefix="igcam-job-") as directory:
        for number, images in enumerate(counts):
            runs.append(bench.run(Path(directory) / str(number), images))
            console.print(f"{images} images: job over engine {runs[-1].ratio:.3f}")
    largest = max(runs, key=lambda one: one.images)
    rates = {label: rate * min(1.0, largest.ratio) for label, rate in bench.rates()}
    console.print()
    rows = [
        [
            *(str(one.images), f"{one.engine:.2f}", f"{one.job:.2f}", f"{one.ratio:.3f}"),
            *(f"{one.seconds:.1f}", f"{one.seconds - one.explaining:.1f}", f"{one.bytes:.0f}"),
        ]
        for one in runs
    ]
    headers = ["images", "engine, images/s", "job, images/s", "ratio", "s in all", "of these starting and ending"]
    show("the job beside the engine", [*headers, "bytes an image x method"], rows)
    show(
        f"worker-hours, and their price at {price:g} for one: computed from measured rates, not run",
        ["method, precision", "images/s", *_DATASETS],
        [
            [
                label,
                f"{rate:.2f}",
                *(
                    f"{images / rate / _HOUR:,.3g} ({price * images / rate / _HOUR:,.3g})"
                    for images in _DATASETS.values()
                ),
            ]
            for label, rate in rates.items()
        ],
    )
    goals = [Goal.at_least("the job's images/s over the engine's", 0.92, largest.ratio)]
    show("targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
    figures = {"machine": measured_on, "model": name, "steps": steps, "runs": [asdict(one) for one in runs]}
    write_json(file, figures | {"images_per_second": rates, "targets": [goal.figures for goal in goals]})


class _Bench:
    """One network and one set of photographs.

    Args:
        name: of `MODELS`.
        steps: along the path.
    """

    def __init__(self, name: str, steps: int) -> None:
        self._model, self._weights = MODELS[name]
        self._steps = steps
        self._subject = Subject.of(name)
        self._photographs = list(_photographs())
        recipe = self._subject.recipe
        pixels = torch.stack(
            [torch.from_numpy(recipe.pixels(decode(data, _MOST_PIXELS))) for data in self._photographs]
        )
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.mean, recipe.std))
        self._inputs = ((pixels.float() / 255 - mean) / std).to(memory_format=torch.channels_last)

    def run(self, directory: Path, images: int) -> Ran:
        """One audit between two runs of the engine."""
        source, output = directory / "images", directory / "audit"
        source.mkdir(parents=True)
        for number in range(images):
            (source / f"{number:07d}.jpg").write_bytes(self._photographs[number % len(self._photographs)])
        before = self._engine(images // 2)
        seconds, explaining, pace = self._audit(source, output)
        after = self._engine(images - images // 2)
        tables = [*output.glob("scores/*.parquet"), *output.glob("heatmaps/*.parquet")]
        size = sum(path.stat().st_size for path in tables)
        return Ran(images, (before + after) / 2, pace, seconds, explaining, size / images)

    def rates(self) -> Iterator[tuple[str, float]]:
        """Images per second of the engine, by method and precision."""
        nodes = min(self._steps, 5)
        methods: list[tuple[str, MethodName, Quadrature]] = [
            ("Grad-CAM", "grad-cam", riemann(1)),
            ("Grad-CAM++", "grad-cam++", riemann(1)),
            (f"Integrated Grad-CAM, gauss-lobatto {nodes}", "integrated-grad-cam", gauss_lobatto(nodes)),
            (f"Integrated Grad-CAM, riemann {self._steps}", "integrated-grad-cam", riemann(self._steps)),
        ]
        precisions: tuple[PrecisionName, ...] = ("fp32", "bf16")
        for label, method, along in methods:
            for precision in precisions:
                yield f"{label}, {precision}", self._engine(_FOR_RATES, method, along, precision)

    def _engine(
        self,
        images: int,
        method: MethodName = "integrated-grad-cam",
        along: Quadrature | None = None,
        precision: PrecisionName = "fp32",
    ) -> float:
        """Images per second: batches of photographs that are decoded already, and maps that are kept nowhere.

        One batch comes before the clock starts.
        """
        device = next(self._subject.ours.parameters()).device
        size = self._subject.recipe.size
        black = self._subject.black().expand(3, size, size)
        explainer = self._subject.explainer([method], along or riemann(self._steps), black, precision)
        of_each = max(1, default_batch_size(device))

        def explain(count: int) -> None:
            rows = torch.arange(count) % len(self._inputs)
            prediction = explainer.predict(self._inputs[rows].to(device))
            explainer.explain(prediction, prediction.logits.argmax(1, keepdim=True))
            if device.type == "cuda":
                torch.cuda.synchronize()

        explain(min(of_each, images))
        left, began = images, time.perf_counter()
        while left > 0:
            explain(min(of_each, left))
            left -= of_each
        return images / (time.perf_counter() - began)

    def _audit(self, source: Path, output: Path) -> tuple[float, float, float]:
        """Seconds in all, seconds of explaining, and images per second, as the audit says them."""
        command = [sys.executable, "-m", "igcam_batch", "audit", str(source), str(output), "--model", self._model]
        settings = ["--weights", self._weights, "--steps", str(self._steps)]
        printed = subprocess.run([*command, *settings], capture_output=True, text=True, check=True).stdout
        found = _PACE.search(printed)
        assert found, printed
        return float(found[1]), float(found[2]), float(found[3])


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
