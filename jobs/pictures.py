"""Make the README's pictures: the demo's sheet, the first screen of its report, and how fast maps are made.

    igcam-batch demo --output igcam-demo
    python jobs/benchmark.py engine --model resnet50 --steps 20 --json engine.json
    python jobs/pictures.py igcam-demo engine.json docs

Needs Chromium; `pip install '.[test]'` has what drives it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from benchmarks import contenders as named
from benchmarks.sheet import said
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 1280, 860
_OURS, _THEIRS, _FLOOR = "#2a6f97", "#b8b8b8", "#c1121f"


@click.command()
@click.argument("demo", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("figures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(demo: Path, figures: Path, directory: Path) -> None:
    """Write three pictures to DIRECTORY: of a DEMO, and of the FIGURES that `benchmark.py engine --json` wrote."""
    shutil.copyfile(demo / "sheet.png", directory / "demo.png")
    screenshot(demo / "audit" / "report.html", directory / "report.png")
    throughput(json.loads(figures.read_text()), directory / "throughput.png")


def screenshot(page: Path, picture: Path) -> None:
    """The first screen of a page, as headless Chromium draws it."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT}, device_scale_factor=1.5) as context:
            opened = context.new_page()
            opened.goto(page.resolve().as_uri())
            opened.wait_for_function("document.fonts.status === 'loaded'")
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
        named.LOBATTO_BF16: "the same in bf16 ",
        named.loop_of(named.TORCHCAM, m): f"torchcam, looped over {m} steps",
        named.loop_of(named.CAPTUM, m): f"captum, looped over {m} steps",
        named.loop_of(named.PYTORCH_GRAD_CAM, m): f"pytorch-grad-cam, looped over {m} steps",
        named.authors(m): f"the authors' algorithm, {m} steps",
    }
    canvas = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    axes = canvas.subplots()
    colours = [_OURS if label.startswith("ours") else _THEIRS for label in names]
    bars = axes.barh(list(names.values()), [rates[label] for label in names], color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=4)
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
