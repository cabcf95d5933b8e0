"""Pixels of a decoded shard to the model's input, on its device."""

import numpy as np
import torch
from torch import Tensor

from igcam_batch.attribution.baselines import Baseline, blurred
from igcam_batch.config import BaselineImage
from igcam_batch.images import Recipe


class Preprocess:
    """Range, channel order and normalisation of a recipe.

    Args:
        recipe: how an image becomes the model's input.
        device: where it is wanted.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._recipe = recipe
        self._device = device
        self._mean = torch.tensor(recipe.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(recipe.std, device=device).view(3, 1, 1)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """(n, 3, H, W) uint8 in R, G, B -> the model's input, float32, channels last."""
        images = self._there(pixels)
        if self._recipe.channel_order == "bgr":
            images = images.flip(1)
        images = (images.float() / (255 / self._recipe.pixel_range) - self._mean) / self._std
        return images.contiguous(memory_format=torch.channels_last)

    def _there(self, pixels: np.ndarray) -> Tensor:
        """The pixels on the device."""
        if self._device.type != "cuda":
            return torch.from_numpy(np.require(pixels, requirements="W"))
        pinned = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[...] = pixels
        return pinned.to(self._device, non_blocking=True)  # while Python goes on

    def baseline(self, image: BaselineImage) -> Baseline:
        """The image without what is explained, in the model's input space: (3, size, size), or a function of images."""
        if image.colour is None:
            return blurred(image.sigma)
        colour = torch.tensor(self._recipe.colour(*image.colour), device=self._device).view(3, 1, 1)
        return colour.expand(3, self._recipe.size, self._recipe.size)
