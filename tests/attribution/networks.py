"""Networks that several tests explain, each built once: seeded, random weights, in eval mode, never changed."""

from functools import cache

import torch
from torch import nn
from torchvision import models


@cache
def torchvision_model(name: str, head_scale: float = 1.0) -> nn.Module:
    """A torchvision classifier of 1000 classes; `head_scale` multiplies the weights of its last linear layer."""
    torch.manual_seed(4)
    model = models.get_model(name, weights=None).eval().requires_grad_(False)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.mul_(head_scale)
    return model
