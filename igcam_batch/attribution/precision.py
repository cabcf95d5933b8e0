"""A network made ready for half precision: cast once, and not where it costs accuracy.

A product of bfloat16s is off by some 0.2 %; a sum of hundreds averages that away, a sum of nine does not. The stem,
which sums over three colours, and depthwise convolutions make most of what a bfloat16 map is off by; they stay float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

_FEW_PRODUCTS = 64


def prepare_for_half_precision(model: nn.Module, dtype: torch.dtype) -> int:
    """Store the weights that autocast would cast in every pass as `dtype`, in place.

    For bfloat16, autocast is told to leave the convolutions alone that sum fewer than 64 products for each output.

    Args:
        model: a classifier in float32, to be run under autocast to `dtype`.
        dtype: bfloat16 or float16.

    Returns:
        how many convolutions stay float32.
    """
    short = []
    for module in model.modules():
        if dtype == torch.bfloat16 and isinstance(module, nn.Conv2d) and module.weight[0].numel() < _FEW_PRODUCTS:
            module.forward = _without_autocast(module.forward)  # type: ignore[assignment, method-assign]
            short.append(module)
        elif type(module) in (nn.Conv2d, nn.Linear):  # kinds of their own may do more with their weights
            module.to(dtype)
    return len(short)


def _without_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    return run
