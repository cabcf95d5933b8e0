"""Half precision on a real pretrained network and real photographs, against full."""

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.precision import prepare_for_half_precision
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.attribution.upsample import upsample
from igcam_batch.demo.model import efficientnet_lite0
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.metrics.faithfulness import highest_pixels
from igcam_batch.names import MethodName, PrecisionName

METHODS: tuple[MethodName, ...] = ("integrated-grad-cam", "grad-cam", "grad-cam++")


@cache
def photographs() -> Tensor:
    """The demo's six, as its model takes them."""
    recipe = efficientnet_lite0().recipe
    with TemporaryDirectory() as directory:
        write_photographs(Path(directory))
        pixels = [
            recipe.pixels(Image.open(path).convert("RGB")) for path in sorted(Path(directory).rglob("*.[jp][pn]g"))
        ]
    mean, std = torch.tensor(recipe.mean).view(3, 1, 1), torch.tensor(recipe.std).view(3, 1, 1)
    assert len(pixels) == 6
    return torch.stack([(torch.from_numpy(of_one) / 255 - mean) / std for of_one in pixels])


def network() -> nn.Module:
    return efficientnet_lite0().module.eval().requires_grad_(False)


@cache
def layer() -> str:
    return choose_layer(network(), photographs()[:1], None).name


def explained(model: nn.Module, precision: PrecisionName) -> dict[MethodName, Tensor]:
    images = photographs()
    engine = Explainer(
        model.to(memory_format=torch.channels_last),
        layer(),
        methods=METHODS,
        along=RULES["gauss-lobatto"](5),
        baselines=[torch.full((3, 224, 224), -127 / 128)],
        score="logit",
        confidence="softmax",
        batch_size=6,
        precision=precision,
    )
    prediction = engine.predict(images)
    found = engine.explain(prediction, prediction.logits.argmax(1, keepdim=True))
    return {method: explanation.maps[:, 0] for method, explanation in found.items()}


@cache
def full() -> dict[MethodName, Tensor]:
    return explained(network(), "fp32")


def relative_error(found: Tensor, exact: Tensor) -> Tensor:
    return (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)


def overlap(found: Tensor, exact: Tensor) -> Tensor:
    """Share of the exact map's 15 % highest pixels, at the input's resolution, that are the found map's too."""
    one, other = (highest_pixels(upsample(maps, (224, 224))) for maps in (found, exact))
    return (one & other).flatten(1).sum(1) / other.flatten(1).sum(1)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_maps_are_within_a_hundredth_and_rank_pixels_alike(method: MethodName) -> None:
    model = network()
    fold_batch_norms(model, layer(), photographs()[:1])
    assert prepare_for_half_precision(model, torch.bfloat16) == 23  # stem, sixteen depthwise, six from few channels
    found = explained(model, "bf16")[method]
    assert found.dtype == torch.float32
    assert 0 < relative_error(found, full()[method]).mean() < 0.01
    assert overlap(found, full()[method]).mean() > 0.98


def test_folded_batch_norms_change_nothing_but_rounding() -> None:
    model = network()
    assert fold_batch_norms(model, layer(), photographs()[:1]) == 49
    found = explained(model, "fp32")
    for method in METHODS:
        assert relative_error(found[method], full()[method]).max() < 1e-4


class InFloat32(nn.Module):
    """What some models end with."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


@pytest.mark.parametrize("end", [nn.Identity, InFloat32])
@pytest.mark.parametrize("sure", [0, 12, 20])  # of a class: 1 - p is 0.999, 0.1 and 1e-5
def test_float16_holds_the_slopes_of_probabilities_near_0_and_1(sure: float, end: type[nn.Module]) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 1000))
    model = nn.Sequential(nn.Conv2d(3, 32, 3, stride=4, padding=1), nn.ReLU(), *head, end())
    for module in model:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        model[-2].bias.zero_()[7] = sure
    half = copy.deepcopy(model.eval().requires_grad_(False))
    prepare_for_half_precision(half, torch.float16)
    images, targets = torch.randn(4, 3, 28, 28), torch.tensor([[7, 5]] * 4)

    def maps(network: nn.Module, precision: PrecisionName) -> Tensor:
        explainer = Explainer(
            network,
            "1",
            methods=["integrated-grad-cam"],
            along=RULES["riemann"](8),
            baselines=[torch.zeros(3, 28, 28)],
            score="probability",
            confidence="softmax",
            batch_size=8,
            precision=precision,
        )
        return explainer.explain(explainer.predict(images), targets)["integrated-grad-cam"].maps

    assert relative_error(maps(half, "fp16"), maps(model, "fp32")).max() < 0.05
