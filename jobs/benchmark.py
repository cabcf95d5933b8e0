"""Time the engine against its floor and its peers, in one run on one machine: `python jobs/benchmark.py engine`.

Every contender explains the same images, in turn, round after round, so that a machine whose speed drifts drifts for
all of them; what counts is the median, and the ratios within the run.
"""

import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.split import find_layer
from igcam_batch.models.load import build_classifier
from igcam_batch.names import MethodName, PrecisionName, RuleName

MODELS = {
    "resnet50": ("torchvision:resnet50", "none"),
    "vgg16": ("torchvision:vgg16", "none"),
    "efficientnet-lite0": ("igcam_batch.demo.model:efficientnet_lite0", "DEFAULT"),
}
Contender = Callable[[], object]


@click.group()
def main() -> None:
    """Benchmarks of igcam-batch."""


@main.command()
@click.option("--model", "names", multiple=True, type=click.Choice(list(MODELS)), help="repeatable  [default: all]")
@click.option("--images", default=8, show_default=True, help="in one batch")
@click.option("--steps", default=20, show_default=True, help="quadrature nodes m")
@click.option("--rounds", default=3, show_default=True, help="counted; one more warms up")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def engine(names: Sequence[str], images: int, steps: int, rounds: int, file: str | None) -> None:
    """Time a map of each kind, in seconds for each image: ours, the floor, pytorch-grad-cam, the authors' algorithm."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    console = Console(width=110, highlight=False)
    console.print(
        f"{machine}; torch {torch.__version__}; {images} images at 224 x 224, m = {steps}, median of {rounds} rounds"
    )
    results = {}
    for name in names or MODELS:
        contenders = _contenders(*MODELS[name], images, steps, device)
        seconds = {label: _median(times) / images for label, times in _interleaved(contenders, rounds, device).items()}
        results[name] = seconds
        console.print(_table(name, seconds, f"floor: {steps} x forward"))
    if file:
        figures = {"machine": machine, "torch": torch.__version__, "images": images, "steps": steps, "seconds": results}
        Path(file).write_text(json.dumps(figures, indent=2) + "\n")


def _contenders(reference: str, weights: str, images: int, steps: int, device: str) -> dict[str, Contender]:
    model = build_classifier(reference, weights).module.to(device).to(memory_format=torch.channels_last).eval()
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    batch = (
        torch.randn(images, 3, 224, 224, generator=generator).to(device).contiguous(memory_format=torch.channels_last)
    )
    targets = torch.arange(images, device=device)
    layer = choose_layer(model, batch[:1], None).name

    def ours(
        methods: Sequence[MethodName], rule: RuleName = "riemann", nodes: int = steps, precision: PrecisionName = "fp32"
    ) -> Contender:
        explainer = Explainer(
            model,
            layer,
            methods=methods,
            steps=nodes,
            rule=rule,
            score="logit",
            confidence="softmax",
            baseline=torch.zeros_like(batch[0]),
            batch_size=images,
            precision=precision,
        )
        return lambda: explainer.maps(explainer.predict(batch), targets.unsqueeze(1))

    def forward() -> None:
        with torch.no_grad():
            for _ in range(steps):
                model(batch)

    theirs = copy.deepcopy(model).requires_grad_(True)  # as its user has it, and so that its hooks slow nobody else
    peer = GradCAM(model=theirs, target_layers=[find_layer(theirs, layer)])
    untouched = copy.deepcopy(model).requires_grad_(True)
    wanted = [ClassifierOutputTarget(int(target)) for target in targets]

    def pytorch_grad_cam() -> object:
        with torch.enable_grad():
            return peer(input_tensor=batch, targets=wanted)

    return {
        f"floor: {steps} x forward": forward,
        f"ours: integrated-grad-cam, riemann {steps}": ours(["integrated-grad-cam"]),
        f"ours: the same, bf16 on {device}": ours(["integrated-grad-cam"], precision="bf16"),
        "ours: integrated-grad-cam, gauss-lobatto 5": ours(["integrated-grad-cam"], "gauss-lobatto", 5),
        "ours: all three methods at once": ours(["integrated-grad-cam", "grad-cam", "grad-cam++"]),
        "ours: grad-cam": ours(["grad-cam"]),
        "pytorch-grad-cam: grad-cam": pytorch_grad_cam,
        f"authors' algorithm, m = {steps}": lambda: _authors(untouched, layer, batch, targets, steps),
    }


def _authors(model: nn.Module, layer: str, images: Tensor, targets: Tensor, steps: int) -> list[Tensor]:
    """As the authors' public notebook goes: an image's interpolants as one batch, through the whole net and back."""
    kept: list[Any] = []
    handle = find_layer(model, layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    maps = []
    try:
        for image, target in zip(images, targets, strict=True):
            kept.clear()
            model.zero_grad(set_to_none=True)
            alphas = torch.arange(steps, device=image.device).view(-1, 1, 1, 1) / steps
            score = model(alphas * image)[:, target].sum()
            kept[0].retain_grad()
            score.backward()
            weights = kept[0].grad.mean((2, 3), keepdim=True)
            maps.append((weights * kept[0].detach()).sum(1).relu().sum(0))
    finally:
        handle.remove()
    return maps


def _interleaved(contenders: dict[str, Contender], rounds: int, device: str) -> dict[str, list[float]]:
    """Each contender once a round, in turn; the first round is not counted."""
    times: dict[str, list[float]] = {label: [] for label in contenders}
    for number in range(rounds + 1):
        for label, run in contenders.items():
            began = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                times[label].append(time.perf_counter() - began)
    return times


def _median(times: Sequence[float]) -> float:
    return statistics.median(times)


def _table(name: str, seconds: dict[str, float], floor: str) -> Table:
    table = Table("", title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("s/image", justify="right")
    table.add_column("x floor", justify="right")
    for label, value in seconds.items():
        table.add_row(label, f"{value:.4f}", f"{value / seconds[floor]:.2f}")
    return table


if __name__ == "__main__":
    main()
