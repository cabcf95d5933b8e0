"""Make the README's pictures: the demo's sheet, a report that finds a watermark, and a plot of speed.

    igcam-batch demo --output igcam-demo
    python jobs/benchmark.py engine --model resnet50 --steps 20 --json engine.json
    python jobs/pictures.py igcam-demo/sheet.png engine.json docs

Needs Chromium and a clone with its tests; `pip install '.[test]'` has the rest.
"""

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from package import find_package

find_package()

import click
from benchmarks import contenders as named
from benchmarks.sheet import said
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from igcam_batch.audit.job import run_audit
from igcam_batch.config import load_config
from igcam_batch.report.html.page import write_report

_TESTS = Path(__file__).resolve().parents[1] / "tests"
_SHEET_WIDTH, _SHEET_QUALITY = 1400, 88
_WIDTH, _HEIGHT = 1180, 900
_OURS, _THEIRS, _FLOOR = "#2a6f97", "#b8b8b8", "#c1121f"


@click.command()
@click.argument("sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("figures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(sheet: Path, figures: Path, directory: Path) -> None:
    """Write three pictures to DIRECTORY: of the demo's SHEET, and of FIGURES that `benchmark.py engine` wrote."""
    smaller(sheet, directory / "demo.jpg")
    throughput(json.loads(figures.read_text()), directory / "throughput.png")
    with tempfile.TemporaryDirectory(prefix="igcam-") as made:
        screenshot(watermark_report(Path(made)), directory / "report.png")


def smaller(sheet: Path, picture: Path) -> None:
    """The sheet as a page needs it: fewer pixels, and no more bytes than photographs need."""
    image = Image.open(sheet).convert("RGB")
    image.thumbnail((_SHEET_WIDTH, image.height), Image.Resampling.LANCZOS)
    image.save(picture, quality=_SHEET_QUALITY, subsampling=0, optimize=True, progressive=True)


def watermark_report(root: Path) -> Path:
    """The report of a small network that learned a mark in the corner of one of three classes of drawn shapes."""
    sys.path.insert(0, str(_TESTS))
    os.environ["PYTHONPATH"] = str(_TESTS)  # for Ray's workers
    watermarks = importlib.import_module("watermarks")
    images = watermarks.write_set(root / "shapes", 60, ("disc",))
    watermarks.train(images, root / "weights.pth")
    config: dict[str, Any] = {
        "model": "watermarks:shapes_cnn",
        "weights": str(root / "weights.pth"),
        "layout": "imagefolder",
    }
    config |= {"input": str(images), "output": str(root / "audit"), "method": ["integrated-grad-cam", "grad-cam"]}
    run_audit(load_config(config))
    write_report(str(root / "audit"))
    return root / "audit" / "report.html"


def screenshot(page: Path, picture: Path) -> None:
    """The first screen of a page, as headless Chromium draws it."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT}) as context:
            opened = context.new_page()
            opened.goto(page.as_uri())
            opened.wait_for_timeout(500)  # maps are drawn as they come into sight
            opened.screenshot(path=picture)
        browser.close()


def throughput(figures: Mapping[str, Any], picture: Path) -> None:
    """Images per second of what makes a map by steps, ours above the others, and the floor as a line."""
    [(model, found)], m = figures["models"].items(), figures["steps"][0]
    rates = {one["contender"]: 1 / one["seconds_per_image"] for one in found["contenders"]}
    names = {
        named.ours(m): f"Integrated Grad-CAM, {m} steps",
        named.ours(m, "bf16"): "the same in bf16",
        named.LOBATTO: "--rule gauss-lobatto --steps 5",
        named.LOBATTO_BF16: "that in bf16",
        named.loop_of(named.TORCHCAM, m): f"torchcam, looped over {m} steps",
        named.loop_of(named.CAPTUM, m): f"captum, looped over {m} steps",
        named.loop_of(named.PYTORCH_GRAD_CAM, m): f"pytorch-grad-cam, looped over {m} steps",
        named.authors(m): f"the authors' algorithm, {m} steps",
    }
    canvas = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    axes = canvas.subplots()
    colours = [_OURS if label.startswith("ours") else _THEIRS for label in names]
    bars = axes.barh(list(names.values()), [rates[label] for label in names], color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.invert_yaxis()
    floor = rates[named.floor(m)]
    axes.axvline(floor, color=_FLOOR, linewidth=1)
    axes.annotate(
        f"floor: {m} forward passes", (floor, 7), xytext=(6, 0), textcoords="offset points", color=_FLOOR, va="center"
    )
    axes.set_xlabel("images per second")
    axes.set_title(f"{model}, 224 pixels; {said(figures['machine'])}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(canvas).print_png(picture)


if __name__ == "__main__":
    main()
