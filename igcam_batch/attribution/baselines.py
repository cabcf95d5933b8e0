"""Where paths start: images of no information, in the space of the model's inputs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Baseline = Tensor | Callable[[Tensor], Tensor]
"""One image (3, H, W) for all; or a function of the images, (B, 3, H, W) -> (B, 3, H, W)."""

_REACH = 3  # standard deviations of the Gaussian that are kept


def blurred(sigma: float) -> Callable[[Tensor], Tensor]:
    """A baseline that is the image itself, blurred until only its large colours are left. Fong and Vedaldi, ICCV 2017.

    Args:
        sigma: standard deviation of the Gaussian, in pixels; edges are extended.
    """

    def blur(images: Tensor) -> Tensor:
        radius = max(1, round(_REACH * sigma))
        places = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
        kernel = torch.exp(-((places / sigma) ** 2) / 2)
        kernel = (kernel / kernel.sum()).to(images).expand(images.shape[1], 1, -1)
        padded = F.pad(images, (radius,) * 4, mode="replicate")
        across = F.conv2d(padded, kernel.unsqueeze(2), groups=images.shape[1])
        return F.conv2d(across, kernel.unsqueeze(3), groups=images.shape[1])

    return blur


def baseline_images(baseline: Baseline, images: Tensor) -> Tensor:
    """The baselines of the images: (1, 3, H, W) where one serves them all, else (B, 3, H, W)."""
    return baseline(images) if callable(baseline) else baseline.unsqueeze(0)
