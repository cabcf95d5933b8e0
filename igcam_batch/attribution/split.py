"""A network cut at a layer into trunk and head, without taking it apart.

One forward pass starts with gradients off; at the layer, its output becomes a leaf and gradients go on. The trunk
therefore runs exactly as in inference, and only the head is differentiated, whatever joins the two: a functional
forward, branches, or skip connections inside the layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from igcam_batch.errors import InputError


class LayerError(InputError):
    """The layer cannot be explained; the message says why and what can."""


class Split:
    """`model` cut at the module called `layer`.

    Args:
        model: a classifier that maps (B, 3, H, W) to logits (B, C), in eval mode with frozen parameters (`frozen`).
        layer: dotted name of a module of `model` that runs once in a forward pass and gives (B, N, u, v).

    Raises:
        LayerError: no such module; when called, also where the layer does not give one spatial map per pass.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model = model
        self.layer = layer
        self._module = find_layer(model, layer)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Run trunk and head.

        Args:
            inputs: (B, 3, H, W).

        Returns:
            activations: (B, N, u, v), a leaf of the autograd graph.
            logits: (B, C), a function of `activations` that autograd can differentiate.
        """
        leaves: list[Tensor] = []

        def cut(_module: nn.Module, _inputs: object, output: object) -> Tensor:
            if leaves:
                raise LayerError(
                    f"--layer {self.layer}: runs more than once in a forward pass; name a module that runs once"
                )
            leaves.append(spatial_map(self.layer, output).detach().requires_grad_())
            torch.set_grad_enabled(True)  # for the head; `no_grad` below restores the caller's mode
            return leaves[0].clone()  # so that an in-place operation after the layer leaves the leaf alone

        handle = self._module.register_forward_hook(cut)
        try:
            with torch.no_grad():
                logits = self.model(inputs)
        finally:
            handle.remove()
        if not leaves:
            raise LayerError(f"--layer {self.layer}: does not run in a forward pass")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"the model must give logits (batch, classes); it gave {shape}")
        if not logits.requires_grad:
            raise LayerError(f"--layer {self.layer}: the class scores do not depend on it")
        return leaves[0], logits

    def activations(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, u, v): the layer's activations alone, without gradients."""
        return self(inputs)[0].detach()


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module called `layer`; LayerError names the closest there is."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer and layer in modules:
        return modules[layer]
    last = [name for name, _ in model.named_children()]
    raise LayerError(
        f"--layer {layer}: {type(model).__name__} has no such module; at the top it has {', '.join(last) or 'none'} "
        "(`igcam-batch layers MODEL` lists all that can be explained)"
    )


def spatial_map(layer: str, output: object) -> Tensor:
    """`output` if it is a map (B, N, u, v) with more than one position, else LayerError."""
    if not isinstance(output, Tensor):
        raise LayerError(f"--layer {layer}: gives a {type(output).__name__}, not one tensor")
    if output.ndim != 4 or output.shape[-1] * output.shape[-2] < 2:
        raise LayerError(f"--layer {layer}: gives {tuple(output.shape)}, not a spatial map (batch, channels, u, v)")
    return output


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode with parameters that want no gradient; both are put back afterwards."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)
