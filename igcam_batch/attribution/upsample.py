"""Maps at a layer's resolution, brought to an image's."""

import torch.nn.functional as F
from torch import Tensor


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners not aligned: (..., u, v) -> (..., H, W) float32. Deterministic, so maps are stored small."""
    flat = maps.float().reshape(-1, 1, *maps.shape[-2:])
    return F.interpolate(flat, size=size, mode="bilinear", align_corners=False).reshape(*maps.shape[:-2], *size)
