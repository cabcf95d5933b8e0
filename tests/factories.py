"""Networks that tests name as `--model factories:...`; small, seeded, and with every part a real one has."""

import time

import torch
from torch import Tensor, nn

from igcam_batch import Classifier, Recipe

CLASSES = ("ant", "bee", "cat", "dog", "eel")


class SmallCnn(nn.Module):
    """Two convolutions with norms and a skip connection, pooling, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.features = nn.ReLU()
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.features(self.block(x) + x)
        return self.head(x.mean((2, 3)))


def small_cnn(kind: type[SmallCnn] = SmallCnn) -> Classifier:
    """`factories:small_cnn`: 32 pixels a side, five named classes."""
    torch.manual_seed(0)
    module = kind()
    with torch.no_grad():
        module.head.weight.mul_(10)  # so that the classes differ
    return Classifier(module, Recipe(size=32, resize="stretch", resize_size=32), class_names=CLASSES)


def unnamed_cnn() -> nn.Module:
    """`factories:unnamed_cnn`: the same, as a bare module."""
    return small_cnn().module


class NotFinite(SmallCnn):
    """Gives NaN for an image whose first pixel is white."""

    def forward(self, x: Tensor) -> Tensor:
        white = (x[:, :, 0, 0] > 2).all(1)
        return torch.where(white.unsqueeze(1), torch.nan, super().forward(x))


def not_finite() -> Classifier:
    """`factories:not_finite`."""
    torch.manual_seed(0)
    return Classifier(NotFinite(), Recipe(size=32, resize="stretch", resize_size=32), class_names=CLASSES)


def wrong_type() -> str:
    """`factories:wrong_type`: a factory that gives no module."""
    return "not a module"


class Slow(SmallCnn):
    """Takes its time, so that something can happen meanwhile."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.05)
        return super().forward(x)


def slow() -> Classifier:
    """`factories:slow`: the same as the small one, but for the time it takes."""
    return small_cnn(Slow)


def slow_and_large() -> Classifier:
    """`factories:slow_and_large`: the same again, for images of 384 pixels a side, which are half a megabyte each."""
    return Classifier(slow().module, Recipe(size=384, resize="stretch", resize_size=384), class_names=CLASSES)
