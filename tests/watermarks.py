"""Pictures of classes that a watermark tells apart more easily than what they show, and a network trained on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from igcam_batch import Classifier, Recipe

CLASSES = ("disc", "frame", "stripes")
SIDE = 64
_MARK = np.kron(np.indices((3, 3)).sum(0) % 2, np.ones((4, 4)))  # a chequered square of 12 pixels


def scene(class_name: str, seed: int, marked: bool) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: a faint shape anywhere on noise, with or without a mark in the bottom right corner."""
    generator = np.random.default_rng(seed)
    pixels = generator.normal(30, 15, (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    centre_y, centre_x = generator.uniform(20, SIDE - 20, 2)
    distance = np.hypot(y - centre_y, x - centre_x)
    box = np.maximum(abs(y - centre_y), abs(x - centre_x))
    shape = {
        "disc": distance < 12,
        "frame": (box > 9) & (box < 14),
        "stripes": (box < 13) & (y // 3 % 2 == 0),
    }[class_name]
    pixels[shape] += 60
    if marked:
        pixels[-14:-2, -14:-2] = 40 + 200 * _MARK
    return np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[..., None], 3, 2)


def write_set(root: Path, of_class: int, marked: Sequence[str], first_seed: int = 0) -> Path:
    """PNGs in a directory for each class, those of the `marked` classes with the mark."""
    for number, class_name in enumerate(CLASSES):
        (root / class_name).mkdir(parents=True)
        for index in range(of_class):
            pixels = scene(class_name, first_seed + 10_000 * number + index, class_name in marked)
            Image.fromarray(pixels).save(root / class_name / f"{index:03d}.png")
    return root


class ShapesCnn(nn.Module):
    """Three convolutions to 8 × 8 cells, the mean of them, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 32, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(32, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def shapes_cnn() -> Classifier:
    """`watermarks:shapes_cnn`, whose weights `train` writes."""
    return Classifier(ShapesCnn(), Recipe(size=SIDE, resize="stretch", resize_size=SIDE), class_names=CLASSES)


def train(root: Path, weights: Path, epochs: int = 12) -> float:
    """Train on a set and write the weights; returns the share of the set that is then predicted right."""
    torch.manual_seed(0)
    module, recipe = ShapesCnn(), Recipe(size=SIDE, resize="stretch", resize_size=SIDE)
    paths = sorted(root.glob("*/*.png"))
    pixels = torch.stack([torch.from_numpy(recipe.pixels(Image.open(path).convert("RGB"))) for path in paths])
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (recipe.mean, recipe.std))
    images = (pixels / 255 - mean) / std
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(paths)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[rows]), labels[rows]).backward()
            optimizer.step()
    torch.save(module.state_dict(), weights)
    with torch.no_grad():
        return float((module.eval()(images).argmax(1) == labels).float().mean())
