"""What cannot be cut, and what is said of it."""

import copy
import re
from contextlib import nullcontext

import pytest
import torch
from networks import torchvision_model
from torch import Tensor, nn

from igcam_batch import InputError, explain

IMAGES = torch.randn(2, 3, 16, 16)
TARGETS = torch.tensor([0, 1])


class Odd(nn.Module):
    """A classifier with one module of every kind that cannot be explained."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.activation = nn.ReLU()
        self.aside = nn.Conv2d(3, 4, 3)
        self.unused = nn.Conv2d(3, 4, 3)
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.pair = nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        x = self.pooled(self.activation(self.convolution(self.activation(x)))).flatten(1)
        return self.head(self.pair(x.unsqueeze(1))[0].squeeze(1))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("nowhere", "--layer nowhere: Odd has no such module; at the top it has convolution, activation"),
        ("activation", "--layer activation: runs more than once"),
        ("unused", "--layer unused: does not run"),
        ("aside", "--layer aside: the class scores do not depend on it"),
        ("head", r"--layer head: gives \(1, 3\), not a spatial map"),
        ("pooled", r"--layer pooled: gives \(1, 4, 1, 1\), not a spatial map"),
        ("pair", "--layer pair: gives a tuple, not one tensor"),
        ("", "has no such module"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_named_with_the_reason(layer: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        explain(Odd(), IMAGES, TARGETS, layer, steps=2)


def test_a_model_that_gives_no_logits_is_told_so() -> None:
    with pytest.raises(InputError, match=re.escape("must give logits (batch, classes); it gave (2, 4, 14, 14)")):
        explain(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), IMAGES, TARGETS, "1", steps=2)


def test_a_model_that_gradients_can_never_reach_is_told_so() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))
        with pytest.raises(InputError, match=r"model: was made under torch\.inference_mode"):
            explain(model, IMAGES, TARGETS, "1", steps=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "gradcam"}, "method gradcam: no such method; there are: integrated-grad-cam, grad-cam"),
        ({"rule": "simpson"}, "rule simpson: no such rule; there are: riemann"),
        ({"score": "loss"}, "score loss: no such score; there are: logit, probability"),
        ({"confidence": "sofmax"}, "confidence sofmax: no such confidence; there are: softmax, sigmoid"),
        ({"method": ["grad-cam"]}, r"method \['grad-cam'\]: no such method"),
        ({"steps": 0}, "steps 0: rule riemann needs a whole number of at least 1"),
        ({"steps": 1, "rule": "trapezoid"}, "steps 1: rule trapezoid needs a whole number of at least 2"),
        ({"steps": 1, "rule": "gauss-lobatto"}, "steps 1: rule gauss-lobatto needs a whole number of at least 2"),
        ({"steps": 2.5}, "steps 2.5: rule riemann needs a whole number"),
        ({"batch_size": 0}, "batch_size 0: must be a whole number of at least 1"),
        ({"batch_size": -4}, "batch_size -4: must be"),
        ({"images": IMAGES.numpy()}, "images: must be a torch.Tensor, not ndarray"),
        ({"images": IMAGES[:0], "targets": TARGETS[:0]}, r"images: .*not \(0, 3, 16, 16\)"),
        ({"images": IMAGES[0]}, r"images: must be \(B, 3, H, W\) floats, not \(3, 16, 16\)"),
        ({"images": IMAGES.to(torch.uint8)}, "images: .*torch.uint8"),
        ({"tolerance": "0.1"}, "tolerance 0.1: must be a number between 0 and 1"),
        ({"targets": torch.tensor([0])}, r"targets: .*for 2 images, not \(1,\)"),
        ({"targets": TARGETS.view(2, 1, 1)}, r"targets: .*not \(2, 1, 1\)"),
        ({"targets": TARGETS.view(2, 1)[:, :0]}, r"targets: .*not \(2, 0\)"),
        ({"targets": torch.tensor([0.0, 1.0])}, "targets: .*torch.float32"),
        ({"targets": torch.tensor([True, False])}, "targets: .*torch.bool"),
        ({"targets": 1}, "targets: must be a torch.Tensor or a list of class indices, not int"),
        ({"targets": [0, 1.5]}, "targets 1.5: must be a whole number"),
        ({"targets": [0] * (len(IMAGES) + 1)}, r"targets: .*for 2 images, not \(3,\)"),
        ({"targets": torch.tensor([0, 1000])}, "target 1000: the model has 1000 classes, 0 to 999"),
        ({"targets": torch.tensor([0, -1])}, "target -1: the model has 1000 classes"),
        ({"baseline": torch.zeros(3, 8, 8)}, r"baseline: must be \(3, 16, 16\) like one image, not \(3, 8, 8\)"),
        ({"baseline": torch.full((3, 16, 16), torch.nan)}, "baseline: holds NaN or infinity"),
        ({"baseline": 0.0}, "baseline: must be a torch.Tensor, not float"),
        ({"model": "resnet50"}, "model: must be a torch.nn.Module, not str"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        explain(
            **{"model": torchvision_model("resnet18"), "images": IMAGES, "targets": TARGETS, "layer": "layer1"}
            | arguments
        )


@pytest.mark.parametrize("kind", [list, tuple])
def test_targets_may_be_plain_numbers(kind: type) -> None:
    model = torchvision_model("resnet18")
    found = explain(model, IMAGES, kind(TARGETS.tolist()), "layer1", steps=2)
    torch.testing.assert_close(found, explain(model, IMAGES, TARGETS, "layer1", steps=2))


class Backbone(nn.Module):
    """A trunk that its user runs under a gradient mode of their own."""

    def __init__(self, mode: object) -> None:
        super().__init__()
        torch.manual_seed(91)
        self.backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            x = self.backbone(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.enable_grad, lambda: torch.set_grad_enabled(False)], ids=["off", "on", "set"]
)
@pytest.mark.parametrize("layer", [None, "backbone", "backbone.0"])
def test_a_gradient_mode_of_the_model_s_own_around_the_layer_changes_nothing(mode: object, layer: str | None) -> None:
    found = explain(Backbone(mode), IMAGES, TARGETS, layer, steps=3)
    assert found.max() > 0
    torch.testing.assert_close(found, explain(Backbone(nullcontext), IMAGES, TARGETS, layer, steps=3))


def test_a_model_that_runs_its_head_without_gradients_is_told_so() -> None:
    class Off(Backbone):
        def forward(self, x: Tensor) -> Tensor:
            x = self.backbone(x)
            with torch.no_grad():
                return self.head(x.mean((2, 3)))

    with pytest.raises(InputError, match="scores do not depend on it, or the model computes them under no_grad"):
        explain(Off(nullcontext), IMAGES, TARGETS, "backbone")


@pytest.mark.parametrize("run", [1, 2, 3])
def test_any_run_of_a_module_that_runs_several_times_can_be_explained(run: int) -> None:
    class Shared(nn.Module):
        """Also as three modules of the same weights, which are explained by name."""

        def __init__(self, shared: bool) -> None:
            super().__init__()
            torch.manual_seed(92)
            self.stem, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()
            convolution = nn.Conv2d(4, 4, 3, padding=1)
            self.runs = nn.ModuleList([convolution if shared else copy.deepcopy(convolution) for _ in range(3)])
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 14 * 14, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for convolution in self.runs:
                x = x + convolution(self.relu(x))
            return self.head(x)

    found = explain(Shared(shared=True), IMAGES, TARGETS, f"runs.0#{run}", steps=3)
    assert found.max() > 0
    torch.testing.assert_close(found, explain(Shared(shared=False), IMAGES, TARGETS, f"runs.{run - 1}", steps=3))
