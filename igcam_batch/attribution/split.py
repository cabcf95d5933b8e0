"""A network cut at a layer into trunk and head, without taking it apart.

One forward pass starts with gradients off; at the layer, its output becomes a leaf and gradients go on. The trunk
therefore runs exactly as in inference, and only the head is differentiated, whatever joins the two: a functional
forward, branches, or skip connections inside the layer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from igcam_batch.errors import InputError

INPUT = ":input"  # after a module's name: the map it takes
Reach = Literal["none", "head", "all"]  # how far down gradients go: nowhere, to the layer, to the input


class LayerError(InputError):
    """The layer cannot be explained; the message says why and what can."""


class Split:
    """`model` cut at the module called `layer`.

    Args:
        model: a classifier that maps (B, 3, H, W) to logits (B, C), in eval mode with frozen parameters (`frozen`).
        layer: dotted name of a module of `model` that runs once in a forward pass and gives (B, N, u, v); or
            `NAME:input` for what that module takes, where functions that are no modules made it.

    Raises:
        LayerError: no such module; when called, also where the layer does not give one spatial map per pass.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model = model
        self.layer = layer
        self._module = find_layer(model, layer)
        self._resumes_from_one: bool | None = None

    def __call__(self, inputs: Tensor, gradients: Reach = "head") -> tuple[Tensor, Tensor]:
        """Run trunk and head.

        Args:
            inputs: (B, 3, H, W); for gradients through `all`, a tensor that requires them.
            gradients: how far down autograd shall be able to go from the logits.

        Returns:
            activations: (B, N, u, v), in the autograd graph unless `gradients` is `none`.
            logits: (B, C), a function of `activations`.
        """
        kept: list[Tensor] = []

        def cut(output: object) -> Tensor:
            activations = spatial_map(self.layer, output)
            if gradients == "head":
                activations = activations.detach().requires_grad_()
                torch.set_grad_enabled(True)  # for the head; `_run` restores the caller's mode
            kept.append(activations)
            return activations.clone()  # so that an in-place operation after the layer leaves the leaf alone

        logits = self._run(inputs, cut, differentiable=gradients == "all")
        if gradients != "none" and not logits.requires_grad:
            raise LayerError(f"--layer {self.layer}: the class scores do not depend on it")
        return kept[0], logits

    def resume(self, image: Tensor, activations: Tensor) -> Tensor:
        """The head on other activations than the image's own.

        The trunk runs on the image alone, and the head on as many activations as there are, wherever nothing but the
        layer's output joins the two; else, as with a skip connection around the layer, on copies of the image.

        Args:
            image: (1, 3, H, W).
            activations: (n, N, u, v).

        Returns:
            (n, C) logits, without gradients.
        """
        if self._resumes_from_one is None:
            self._resumes_from_one = self._can_resume_from_one(image)
        inputs = image if self._resumes_from_one else image.expand(len(activations), -1, -1, -1)
        return self._run(inputs, lambda output: activations.to(spatial_map(self.layer, output).dtype))

    def _can_resume_from_one(self, image: Tensor) -> bool:
        """Whether two copies of the image's activations, beside a trunk of one image, give its logits twice."""
        activations, logits = self(image, "none")
        try:
            twice = self._run(image, lambda _output: activations.expand(2, -1, -1, -1))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, InputError):  # shapes that do not fit
            return False
        return twice.shape == (2, *logits.shape[1:]) and torch.allclose(twice, logits, rtol=1e-2, atol=1e-3)

    def _run(self, inputs: Tensor, cut: Callable[[object], Tensor], *, differentiable: bool = False) -> Tensor:
        """The logits with the layer's output replaced by `cut` of it; the caller's gradient mode is restored."""
        times = 0

        def count() -> None:
            nonlocal times
            times += 1
            if times > 1:
                raise LayerError(
                    f"--layer {self.layer}: runs more than once in a forward pass; name a module that runs once"
                )

        def after(_module: nn.Module, _taken: object, output: object) -> Tensor:
            count()
            return cut(output)

        def before(_module: nn.Module, taken: tuple[object, ...]) -> tuple[object, ...]:
            count()
            return (cut(taken[0] if taken else None), *taken[1:])

        at_input = self.layer.endswith(INPUT)
        handle = (
            self._module.register_forward_pre_hook(before) if at_input else self._module.register_forward_hook(after)
        )
        try:
            with torch.set_grad_enabled(differentiable):
                logits = self.model(inputs)
        finally:
            handle.remove()
        if not times:
            raise LayerError(f"--layer {self.layer}: does not run in a forward pass")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"the model must give logits (batch, classes); it gave {shape}")
        return logits


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module called `layer`; LayerError names the closest there is."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer and layer.removesuffix(INPUT) in modules:
        return modules[layer.removesuffix(INPUT)]
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
