"""A batch norm after a convolution, folded into the convolution's weights: the same function, less memory traffic.

Which norm follows which convolution is seen in one forward pass, so any forward will do. Whether nothing else takes the
convolution's output is not seen there: the folded network must give the same activations and logits, or is put back.
"""

import logging
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.split import Split
from igcam_batch.errors import one_line

logger = logging.getLogger(__name__)
_AGREEMENT = 1e-4  # relative difference of activations and logits that rounding may bring about


class Folded(nn.Module):
    """What is left of a batch norm whose arithmetic a convolution does: the activation that some norms carry."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        for name, child in norm.named_children():  # as timm's BatchNormAct2d: drop, then act
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, u, v) -> (B, N, u, v)."""
        for child in self.children():
            x = child(x)
        return x


def fold_batch_norms(model: nn.Module, layer: str, inputs: Tensor) -> int:
    """Fold every batch norm of `model` that directly follows a convolution into it, in place.

    Args:
        model: a classifier in eval mode, float32.
        layer: the layer that is explained; its output stays what it was.
        inputs: (B, 3, H, W), a forward pass of which shows what follows what, and that nothing has changed.

    Returns:
        how many were folded; 0 also where folding would have changed what the network computes.
    """
    with frozen(model):
        pairs = [pair for pair in _pairs(model, inputs) if pair[0] != layer]
        plain = [pair for pair in pairs if type(model.get_submodule(pair[0])) is nn.Conv2d]
        before = Split(model, layer)(inputs, "none")
        for chosen in (pairs, plain):  # a convolution of its own kind may do more to its weights than convolve
            undo = [_fold(model, *pair) for pair in chosen]
            try:
                after = Split(model, layer)(inputs, "none")
                if agree(before, after):
                    return len(chosen)
            except Exception as error:  # the layer is what a norm took, or the model looks at its norms
                logger.info("batch norms are not folded: %s", one_line(error))
            for was in undo:
                was.convolution.weight, was.convolution.bias = was.weight, was.bias
                model.set_submodule(was.norm_name, was.norm)
    return 0


class _Undo(NamedTuple):
    convolution: nn.Conv2d
    weight: Tensor
    bias: Tensor | None
    norm_name: str
    norm: nn.BatchNorm2d


def _pairs(model: nn.Module, inputs: Tensor) -> list[tuple[str, str]]:
    """Names of each convolution and the batch norm that takes its output, both of which run once."""
    made: dict[int, str] = {}
    kept: list[Tensor] = []  # so that no later tensor is given the identity of one that is gone
    pairs: list[tuple[str, str]] = []
    runs: list[str] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def record(_module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
            runs.append(name)
            if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
                made[id(output)] = name
                kept.append(output)
            elif arguments and id(arguments[0]) in made:
                pairs.append((made[id(arguments[0])], name))

        return module.register_forward_hook(record)

    handles = [
        watch(name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) or (isinstance(module, nn.BatchNorm2d) and module.track_running_stats)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if runs.count(convolution) == runs.count(norm) == 1
        and "weight" in model.get_submodule(convolution)._parameters  # else it is made of others, as by weight norm
    ]


def _fold(model: nn.Module, convolution_name: str, norm_name: str) -> _Undo:
    convolution, norm = model.get_submodule(convolution_name), model.get_submodule(norm_name)
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    undo = _Undo(convolution, convolution.weight, convolution.bias, norm_name, norm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.requires_grad_(False)
    model.set_submodule(norm_name, Folded(norm))
    return undo


def agree(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> bool:
    """Whether activations and logits are what they were, but for rounding in float32."""
    return all(bool((one - other).norm() <= _AGREEMENT * one.norm()) for one, other in zip(before, after, strict=True))
