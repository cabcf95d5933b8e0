"""What a convolution is computed by, together with an addition and a ReLU that follow it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igcam_batch.names import PrecisionName

_AMPERE = (8, 0)

Kernel = Callable[[nn.Conv2d, Tensor, Tensor | None], Tensor]
"""A convolution, its input (n, N, H, W) of its weights' dtype and what is added to its output, if anything:
ReLU(conv(x) + z), (n, M, u, v). RuntimeError where there is no such kernel."""


def kernel_on(device: torch.device, precision: PrecisionName) -> Kernel | None:
    """The one that is worth deferring convolutions for; None where there is none, or nobody has measured it.

    On an H200, ResNet-50 gives 1.8 times as many images in TF32 by it, and 1.9 to 2.0 times in half precision; on CPUs
    torch's, which does the same, gains 0 to 4 %.
    """
    if device.type != "cuda" or not torch.version.cuda or not torch.backends.cudnn.enabled or precision == "fp32":
        return None
    if precision == "tf32" and torch.cuda.get_device_capability(device) < _AMPERE:
        return None  # it is fp32 there
    return by_cudnn


def by_torch(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
    """Anywhere, one after another: up to four times the traffic with memory, as on GPUs a bias has its own kernel."""
    out = convolved(convolution, x)
    return (out if z is None else out.add_(z)).relu_()


def by_cudnn(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
    """On NVIDIA's GPUs, in one kernel."""
    weight, bias = convolution.weight, convolution.bias
    stride, padding, dilation, groups = _how(convolution)
    if z is None:
        return torch.cudnn_convolution_relu(x, weight, bias, stride, padding, dilation, groups)
    return torch.cudnn_convolution_add_relu(x, weight, z, 1.0, bias, stride, padding, dilation, groups)


def convolved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution alone."""
    stride, padding, dilation, groups = _how(convolution)
    return F.conv2d(x, convolution.weight, convolution.bias, stride, padding, dilation, groups)


def _how(convolution: nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    assert not isinstance(convolution.padding, str)
    return convolution.stride, convolution.padding, convolution.dilation, convolution.groups
