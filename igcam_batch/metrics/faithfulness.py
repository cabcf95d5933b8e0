"""Does the map show what the model used? Keep only what it credits most, and score the image again.

Drop and Increase: Chattopadhyay et al., "Grad-CAM++", WACV 2018, sec. 4.1; Sattarzadeh et al. 2021, eq. 7 and 8, where
T keeps the 15 % highest pixels. Eq. 8 prints sign(); the paper's own table only fits the indicator, which is used here.
"""

from collections.abc import Callable

import torch
from torch import Tensor

KEPT_SHARE = 0.15

ConfidenceFunction = Callable[[Tensor, Tensor], Tensor]  # images (n, 3, H, W), classes (n,) -> confidences (n,)


def highest_pixels(maps: Tensor, share: float = KEPT_SHARE) -> Tensor:
    """The `share` highest pixels of each map, of those it credits at all: (..., H, W) -> (..., H, W) bool.

    round(share · HW) pixels; of pixels that tie for the last places the first in reading order are taken. A pixel of
    value 0 is never among them, so a map that is zero everywhere keeps nothing.
    """
    flat = maps.flatten(-2)
    count = max(1, round(share * flat.shape[-1]))
    threshold = flat.topk(count, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    above, level = flat > threshold, flat == threshold
    places = count - above.sum(-1, keepdim=True)
    kept = above | (level & (level.cumsum(-1) <= places))
    return (kept & (flat > 0)).view_as(maps)


def masked_confidence(
    confidence: ConfidenceFunction, images: Tensor, classes: Tensor, kept: Tensor, fill: Tensor
) -> Tensor:
    """Ψ(I ⊙ T): the confidence in each class with the kept pixels as they are and the rest filled.

    Args:
        confidence: scores images for one class each.
        images: (n, 3, H, W), preprocessed.
        classes: (n,) class indices.
        kept: (n, H, W) bool, T.
        fill: what takes the place of the rest, as black in the images' space: (3, 1, 1), (3, H, W) or (n, 3, H, W).

    Returns:
        (n,) float32.
    """
    return confidence(torch.where(kept.unsqueeze(1), images, fill), classes)


def drop(confidence: Tensor, masked: Tensor) -> Tensor:
    """Drop, eq. 7: max(0, Ψ(I) - Ψ(I⊙T)) / Ψ(I), in [0, 1]; NaN where Ψ(I) is 0. (...), (...) -> (...) float32."""
    return ((confidence - masked).clamp_min(0) / confidence).float()


def increase(confidence: Tensor, masked: Tensor) -> Tensor:
    """Increase, eq. 8: 1 where Ψ(I⊙T) > Ψ(I), else 0. (...), (...) -> (...) float32."""
    return (masked > confidence).float()


def average_gain(confidence: Tensor, masked: Tensor) -> Tensor:
    """Average gain: max(0, Ψ(I⊙T) - Ψ(I)) / (1 - Ψ(I)), in [0, 1]; NaN where Ψ(I) is 1. (...), (...) -> (...) float32.

    Zhang et al., "Opti-CAM", CVIU 2024, eq. 12: the counterpart of Drop, where Increase only counts.
    """
    return ((masked - confidence).clamp_min(0) / (1 - confidence)).float()
