"""A network as a worker runs it: the same function as it was loaded, by fewer and faster operations."""

import torch
from torch import Tensor, nn

from igcam_batch.attribution.deferred import defer_convolutions
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.kernels import kernel_on
from igcam_batch.attribution.network import DTYPES
from igcam_batch.attribution.precision import prepare_for_half_precision
from igcam_batch.names import PrecisionName


def make_ready(
    model: nn.Module, layer: str, probe: Tensor, device: torch.device, precision: PrecisionName
) -> nn.Module:
    """Fold batch norms, defer convolutions, store weights as they are computed with, and move it; all of it in place.

    Args:
        model: a classifier in eval mode, float32, on the CPU.
        layer: that is explained; its output stays what it was.
        probe: (B, 3, H, W), what the forward passes are tried on.
        device: where it will run.
        precision: that it will run in.
    """
    fold_batch_norms(model, layer, probe)
    if kernel := kernel_on(device, precision):
        defer_convolutions(model, layer, probe, kernel)
    if precision in DTYPES:
        prepare_for_half_precision(model, DTYPES[precision])
    return model.to(device).to(memory_format=torch.channels_last)
