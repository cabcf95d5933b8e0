"""Half precision where it costs no accuracy: the convolutions whose rounding nothing averages out stay float32.

A product of bfloat16s is off by some 0.2 %; a sum of hundreds averages that away, a sum of nine does not. The stem,
which sums over three colours, and depthwise convolutions make most of what a half precision map is off by.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

_FEW_PRODUCTS = 64


def keep_short_sums_in_full_precision(model: nn.Module) -> int:
    """Let autocast leave the convolutions alone that sum fewer than 64 products for each output, in place.

    Args:
        model: a classifier.

    Returns:
        how many there are.
    """
    short = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.weight[0].numel() < _FEW_PRODUCTS
    ]
    for module in short:
        module.forward = _without_autocast(module.forward)  # type: ignore[assignment, method-assign]
    return len(short)


def _without_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    return run
