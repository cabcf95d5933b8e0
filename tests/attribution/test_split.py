"""What cannot be cut, and what is said of it."""

import re

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

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
        ("head", r"--layer head: gives \(2, 3\), not a spatial map"),
        ("pooled", r"--layer pooled: gives \(2, 4, 1, 1\), not a spatial map"),
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "gradcam"}, "method gradcam: no such method; there are: integrated-grad-cam, grad-cam"),
        ({"rule": "simpson"}, "rule simpson: no such rule; there are: riemann"),
        ({"score": "loss"}, "score loss: no such score; there are: logit, probability"),
        ({"steps": 0}, "steps 0: rule riemann needs at least 1"),
        ({"steps": 1, "rule": "trapezoid"}, "steps 1: rule trapezoid needs at least 2"),
        ({"images": IMAGES[0]}, r"images: must be \(B, 3, H, W\) floats, not \(3, 16, 16\)"),
        ({"images": IMAGES.to(torch.uint8)}, "images: .*torch.uint8"),
        ({"images": IMAGES / 0}, "images: number 0 holds NaN or infinity"),
        ({"targets": torch.tensor([0])}, r"targets: .*for 2 images, not \(1,\)"),
        ({"targets": torch.tensor([0.0, 1.0])}, "targets: .*torch.float32"),
        ({"targets": torch.tensor([0, 1000])}, "target 1000: the model has 1000 classes, 0 to 999"),
        ({"targets": torch.tensor([0, -1])}, "target -1: the model has 1000 classes"),
        ({"baseline": torch.zeros(3, 8, 8)}, r"baseline: must be \(3, 16, 16\) like one image, not \(3, 8, 8\)"),
        ({"model": "resnet50"}, "model: must be a torch.nn.Module, not str"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        explain(
            **{"model": models.resnet18(weights=None), "images": IMAGES, "targets": TARGETS, "layer": "layer1"}
            | arguments
        )
