"""A network cut at a layer into trunk and head, without taking it apart.

One forward pass starts with gradients off; at the layer, its map becomes a leaf and gradients go on. The trunk
therefore runs exactly as in inference, and only the head is differentiated, whatever joins the two: a functional
forward, branches, or skip connections inside the layer.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from igcam_batch.attribution.layer_names import LayerError, LayerName
from igcam_batch.attribution.memory import is_out_of_memory
from igcam_batch.attribution.operations import Operations
from igcam_batch.attribution.replay import Kept, kept_trunk, replayed
from igcam_batch.attribution.runs import watch
from igcam_batch.errors import InputError

Reach = Literal["none", "head", "all"]  # how far down gradients go: nowhere, to the layer, to the input
_Cut = Callable[[Tensor, bool], Tensor]  # the map, and whether its tensor stays in use -> what takes its place


class Split:
    """`model` cut at a layer.

    Args:
        model: a classifier that maps (B, 3, H, W) to logits (B, C), in eval mode with frozen parameters (`frozen`).
        layer: a module of `model` that gives (B, N, u, v), by its dotted name; `NAME#K` for the K-th run of one that
            runs several times; either with `:input` for the map it takes, where functions that are no modules made it.

    Raises:
        LayerError: no such module, or a norm that mixes the images of a batch; when called, also where the layer does
            not give one spatial map per pass.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model = model
        self.layer = layer
        self._module = find_layer(model, layer)
        _check_norms(model)
        self._name = LayerName.parse(layer)
        self._operation: int | None = None  # that gives the map at an input; known after the first pass
        self._resumes_from_one: bool | None = None
        self._begins_with_gradients = False  # needed where the model restores the mode that the layer found

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

        def cut(output: Tensor, stays: bool) -> Tensor:
            # What comes after may change tensors in place: it gets a copy, and the leaf is left alone.
            activations = output.clone() if stays else output
            if gradients == "head":
                activations = activations.detach().requires_grad_()
                torch.set_grad_enabled(True)  # where the model itself has gradients off, to the end of that block
            kept.append(activations)
            with torch.set_grad_enabled(gradients != "none"):
                return output.copy_(activations) if stays and gradients != "none" else activations.clone()

        inputs = inputs if gradients == "all" else inputs.detach()
        logits = self._run(inputs, cut, gradients=gradients == "all" or self._begins_with_gradients)
        if gradients == "head" and not logits.requires_grad and not self._begins_with_gradients:
            # `with torch.no_grad(): x = backbone(x)` puts gradients off again after the layer: begin with them. Frozen
            # parameters and inputs leave no graph even so.
            self._begins_with_gradients = True
            kept.clear()
            logits = self._run(inputs, cut, gradients=True)
        if gradients != "none" and not logits.requires_grad:
            raise LayerError(
                f"--layer {self.layer}: the class scores do not depend on it, or the model computes them under no_grad"
            )
        return kept[0], logits

    def on(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """The head on other activations than the image's own: (n, N, u, v) -> (n, C) logits, without gradients.

        The trunk runs once, for the image, and the head on as many activations as there are, wherever nothing but the
        layer's output joins the two; else, as with a skip connection around the layer, both run on copies of the image.

        Args:
            image: (1, 3, H, W).
        """
        kept = self._kept(image)
        if self._resumes_from_one is None:
            self._resumes_from_one = self._can_resume_from_one(image, kept)

        def head(activations: Tensor) -> Tensor:
            if self._resumes_from_one:
                return self._resumed(image, activations, kept)
            return self._resumed(image.expand(len(activations), -1, -1, -1), activations)

        return head

    def _kept(self, image: Tensor) -> Kept:
        with torch.no_grad():
            return kept_trunk(self.model, self._name, self._operation_at(image), image)

    def _resumed(self, inputs: Tensor, activations: Tensor, kept: Kept | None = None) -> Tensor:
        """The logits with the layer's map replaced; what is kept of the trunk is not computed again."""

        def cut(output: Tensor, stays: bool) -> Tensor:
            other = activations.to(output.dtype, copy=True)  # what follows may change it in place
            return output.set_(other) if stays else other  # type: ignore[call-overload]  # of more images, maybe

        with replayed(kept):
            return self._run(inputs, cut, gradients=False, operation=kept.operation if kept else None)

    def _can_resume_from_one(self, image: Tensor, kept: Kept) -> bool:
        """Whether two copies of the image's activations, beside a trunk of one image, give its logits twice."""
        activations, logits = self(image, "none")
        try:
            twice = self._resumed(image, activations.expand(2, -1, -1, -1), kept)
        except (RuntimeError, InputError) as error:  # shapes that do not fit
            if is_out_of_memory(error):
                raise
            return False
        return twice.shape == (2, *logits.shape[1:]) and torch.allclose(twice, logits, rtol=1e-2, atol=1e-3)

    def _run(self, inputs: Tensor, cut: _Cut, *, gradients: bool, operation: int | None = None) -> Tensor:
        """The logits with the layer's map replaced by `cut` of it; the caller's gradient mode is restored."""
        cuts = 0

        def replace(output: object, stays: bool) -> Tensor:
            nonlocal cuts
            cuts += 1
            return cut(spatial_map(self.layer, output), stays)

        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(gradients))
            if self._name.at_input:
                number = operation or self._operation_at(inputs)
                stack.enter_context(
                    Operations(lambda place, result, stays: replace(result, stays) if place == number else result)
                )
            else:
                stack.enter_context(self._output_replaced(lambda output: replace(output, False)))
            logits = self.model(inputs)
        if not cuts:
            raise LayerError(f"--layer {self.layer}: does not run in a forward pass")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"the model must give logits (batch, classes); it gave {shape}")
        return logits

    @contextmanager
    def _output_replaced(self, replace: Callable[[object], Tensor]) -> Iterator[None]:
        times = 0

        def after(_module: nn.Module, _taken: object, output: object) -> object:
            nonlocal times
            times += 1
            if self._name.run is None and times > 1:
                raise LayerError(
                    f"--layer {self.layer}: runs more than once in a forward pass; {self.layer}#1 is its first run"
                )
            return replace(output) if times == (self._name.run or 1) else output

        handle = self._module.register_forward_hook(after)
        try:
            yield
        finally:
            handle.remove()

    def _operation_at(self, inputs: Tensor) -> int | None:
        """The number of the function that gives the map at an input; None for a layer that is an output."""
        if self._name.at_input and self._operation is None:
            numbers = [run.operation for run in watch(self.model, inputs[:1].detach()) if run.name == self._name]
            if not numbers:
                raise LayerError(f"--layer {self.layer}: takes no map there that a function between modules made")
            self._operation = numbers[0]
        return self._operation


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module that a layer is named by; LayerError names the closest there is."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    name = LayerName.parse(layer).module
    if name and isinstance(modules.get(name), torch.jit.ScriptModule):
        raise LayerError(f"--layer {layer}: is TorchScript, into which no hook reaches; name a layer before it")
    if name and name in modules:
        return modules[name]
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


def _check_norms(model: nn.Module) -> None:
    """LayerError for a norm whose outputs depend on the other images of a batch, also in eval mode."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise LayerError(
                f"{type(model).__name__}: {name} takes its statistics from the batch (track_running_stats=False), so a "
                "map would depend on its neighbours; give it running statistics"
            )
