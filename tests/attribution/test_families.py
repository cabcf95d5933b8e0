"""Every family of CNN, and networks as users write them: the engine's maps are those of the naive loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, TORCHVISION, enlivened, small
from naive import looped, looped_grad_cam
from torch import Tensor, nn
from torchvision import models

from igcam_batch import explain

STEPS = 3
SIBLINGS = {  # the names of a family's members, and the one that stands for them; None for transformers
    "alexnet": "alexnet",
    "convnext_*": "convnext_tiny",
    "densenet*": "densenet121",
    "efficientnet_b?": "efficientnet_b0",
    "efficientnet_v2_?": "efficientnet_v2_s",
    "googlenet": "googlenet",
    "inception_v3": "inception_v3",
    "maxvit_?": "maxvit_t",
    "mnasnet*": "mnasnet0_5",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_*": "mobilenet_v3_small",
    "regnet_x_*": "regnet_x_400mf",
    "regnet_y_*": "regnet_y_400mf",
    "resnet*": "resnet18",
    "resnext*": "resnext50_32x4d",
    "shufflenet_v2_*": "shufflenet_v2_x0_5",
    "squeezenet*": "squeezenet1_1",
    "swin_?": None,
    "swin_v2_?": None,
    "vgg??": "vgg11",
    "vgg??_bn": "vgg11_bn",
    "vit_?_??": None,
    "wide_resnet*": "wide_resnet50_2",
}


@contextmanager
def trunk_runs_without_gradients(model: nn.Module, layer: str) -> Iterator[None]:
    """Fails where the first convolution starts, or the layer ends, with gradients on."""
    modes: list[bool] = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    handles = (
        first.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled())),
        model.get_submodule(layer).register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled())),
    )
    yield
    for handle in handles:
        handle.remove()
    assert modes
    assert not any(modes), "the trunk ran with gradients on"


def well_founded(model: nn.Module, images: Tensor) -> Tensor:
    """(B, 2): classes whose scores are high, and higher than the baseline's: what raises them is on their maps."""
    with torch.no_grad():
        logits, origin = model(images), model(torch.zeros_like(images[:1]))
    return torch.minimum(logits, logits - origin).topk(2).indices


def assert_equals_the_naive_loop(model: nn.Module, images: Tensor, layer: str, named: str | None = None) -> None:
    """Integrated Grad-CAM and Grad-CAM of `named`, or of the default layer, against those of `layer`.

    Each image is looped for one of its two targets.
    """
    targets = well_founded(model, images)
    module, baseline = model.get_submodule(layer), torch.zeros_like(images[0])
    with trunk_runs_without_gradients(model, layer):
        integrated = explain(model, images, targets, named, "integrated-grad-cam", STEPS)
        plain = explain(model, images, targets, named, "grad-cam")
    for b, target in enumerate(targets.diagonal().tolist()):
        expected = looped(model, module, images[b], target, baseline, STEPS, lambda logits: logits)
        assert_same_map(integrated[b, b], expected)
        assert_same_map(plain[b, b], looped_grad_cam(model, module, images[b], target, lambda logits: logits))


def goes_round(model: nn.Module, layer: str, images: Tensor) -> bool:
    """Whether something reaches the scores by another way than through the layer."""
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: output.detach())
    logits = model(images.clone().requires_grad_())
    handle.remove()
    return logits.requires_grad


def assert_same_map(found: Tensor, expected: Tensor) -> None:
    largest = float(expected.max())
    assert largest > 0, "a map of zeros shows nothing"
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3 * largest)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_cnn_equals_the_naive_loop_at_its_default_layer(name: str) -> None:
    layer, side = FAMILIES[name]
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(2))
    model = enlivened(small(name), images)
    assert_equals_the_naive_loop(model, images[:2], layer)
    assert not goes_round(model, layer, images[:1]), "the layer is not all that the network says"


def test_no_family_of_torchvision_is_forgotten() -> None:
    for name in models.list_models(module=models):
        fit = [pattern for pattern in SIBLINGS if fnmatchcase(name, pattern)]
        assert len(fit) == 1, f"{name}: of which family is it? name one member in families.py, and its siblings here"
    assert {member for member in SIBLINGS.values() if member} == set(TORCHVISION)


class WholeFunctional(nn.Module):
    """Pooling and activations by functions; the last convolution's activation is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.last, self.fc = nn.Conv2d(8, 12, 3), nn.Linear(12, 60)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.first(x)), inplace=True), 2)
        x = F.relu(self.last(x), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class SkipsIntoTheHead(nn.Module):
    """Its head takes the layer's output, an earlier one, and the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.hidden, self.fc = nn.Linear(19, 16), nn.Linear(16, 60)

    def forward(self, x: Tensor) -> Tensor:
        early = torch.tanh(self.early(x))
        late = torch.tanh(self.late(early))
        pooled = torch.cat([(late * early).mean((2, 3)), late.amax((2, 3)), x.mean((2, 3))], 1)
        return self.fc(torch.tanh(self.hidden(pooled)))


class Dense(nn.Module):
    """Each layer takes all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.layers = nn.ModuleList([nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3)])
        self.norm, self.fc = nn.BatchNorm2d(18), nn.Linear(18, 60)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(F.relu(x))], 1)
        return self.fc(F.relu(self.norm(x), inplace=True).mean((2, 3)))


class Inception(nn.Module):
    """Three branches of one input, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(channels, 4, 1)
        self.square = nn.Sequential(nn.Conv2d(channels, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 5, 3, padding=1))
        self.pooled = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.pointwise(x), self.square(x), self.pooled(F.max_pool2d(x, 3, 1, 1))]
        return F.relu(torch.cat(branches, 1))


class Excited(nn.Module):
    """Squeeze-and-excite around a residual block, Hu et al. 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return F.relu(x + y * gate)


def head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 60)


OWN = {
    "a functional forward": (WholeFunctional, "last"),
    "several inputs to the head": (SkipsIntoTheHead, "late"),
    "dense concatenation": (Dense, "norm"),
    "inception branches": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), Inception(6), Inception(12), *head(12)),
        "2",
    ),
    "squeeze-and-excite": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), Excited(), *head(8)), "1"),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_user_s_own_network_equals_the_naive_loop_at_its_default_layer(kind: str) -> None:
    build, layer = OWN[kind]
    torch.manual_seed(9)
    images = torch.randn(2, 3, 20, 24)
    assert_equals_the_naive_loop(build().eval(), images, layer)


INSIDE = {
    "a convolution with a ReLU in place after it": (lambda: nn.Sequential(*inplace_cnn(), *head(8)), "2"),
    "one branch of several": (OWN["inception branches"][0], "2.square"),
    "a stem that all branches take": (OWN["inception branches"][0], "0"),
    "a convolution that is squeezed and excited": (OWN["squeeze-and-excite"][0], "1.convolution"),
    "one layer of a dense block": (Dense, "layers.1"),
    "a layer that the head takes twice": (SkipsIntoTheHead, "early"),
}


def inplace_cnn() -> tuple[nn.Module, ...]:
    return nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True)


@pytest.mark.parametrize("kind", INSIDE)
def test_any_layer_of_a_user_s_own_network_equals_the_naive_loop(kind: str) -> None:
    build, layer = INSIDE[kind]
    torch.manual_seed(10)
    images = torch.randn(2, 3, 20, 24)
    assert_equals_the_naive_loop(build().eval(), images, layer, named=layer)
