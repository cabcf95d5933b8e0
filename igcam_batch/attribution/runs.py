"""One forward pass, watched: which modules ran, how often, what maps they took and gave, and who made those."""

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.layer_names import LayerName
from igcam_batch.attribution.operations import Operations

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Run:
    """A run of a module: of its output, or of an input that no module gave.

    Attributes:
        name: of the map.
        module: that ran.
        shape: (N, u, v) where it is a spatial map; None where it is not.
        operation: number of the function that made it, where no module did.
    """

    name: LayerName
    module: nn.Module
    shape: Shape | None
    operation: int | None = None


def shape_of_map(output: object) -> Shape | None:
    """(N, u, v) of (B, N, u, v) with more than one position."""
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[-1] * output.shape[-2] < 2:
        return None
    _, channels, rows, columns = output.shape
    return channels, rows, columns


class _Tensors:
    """A note on each tensor that is still there."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def note(self, tensor: object, number: int) -> None:
        """Put a number beside a tensor."""
        if isinstance(tensor, Tensor):
            self._notes[id(tensor)] = weakref.ref(tensor), number

    def of(self, tensor: object) -> int | None:
        """The number beside it; None: there is none."""
        reference, number = self._notes.get(id(tensor), (lambda: None, 0))
        return number if reference() is tensor and tensor is not None else None


def watched_modules(model: nn.Module) -> dict[nn.Module, str]:
    """The modules of a model that can have hooks, with their names: all but itself and what is TorchScript."""
    return {
        module: name
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)
    }


def watch(model: nn.Module, inputs: Tensor) -> list[Run]:
    """The runs of one forward pass, in the order in which modules finish; before its own, one for an input's map.

    A module that runs several times has a run for each, numbered; whose input a function made, or changed in place
    after a module gave it, has one for that input too.

    Args:
        model: in eval mode.
        inputs: (B, 3, H, W).
    """
    found: list[Run] = []
    begun: Counter[str] = Counter()
    running: dict[str, list[int]] = {}
    made, given = _Tensors(), _Tensors()  # by which function; by which when a module gave it
    given.note(inputs, 0)
    latest = 0

    def after(number: int, result: Tensor, _in_place: bool) -> Tensor:
        nonlocal latest
        latest = number
        made.note(result, number)
        return result

    def hooks(name: str, module: nn.Module) -> Iterator[torch.utils.hooks.RemovableHandle]:
        def before(_module: nn.Module, taken: tuple[object, ...]) -> None:
            begun[name] += 1
            running.setdefault(name, []).append(begun[name])
            shape = shape_of_map(taken[0]) if taken else None
            operation = made.of(taken[0]) if shape else None
            if operation is not None and given.of(taken[0]) != operation:
                found.append(Run(LayerName(name, begun[name], at_input=True), module, shape, operation))
                given.note(taken[0], operation)

        def finished(_module: nn.Module, _taken: object, output: object) -> None:
            found.append(Run(LayerName(name, running[name].pop()), module, shape_of_map(output)))
            given.note(output, made.of(output) or 0)

        yield module.register_forward_pre_hook(before)
        yield module.register_forward_hook(finished)

    with ExitStack() as stack:
        for module, name in watched_modules(model).items():
            for handle in hooks(name, module):
                stack.callback(handle.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(Operations(after))
        model(inputs)
    return [_named(run, begun) for run in found]


def _named(run: Run, times: Counter[str]) -> Run:
    """A run under the shortest name: the module's own where it runs once."""
    if times[run.name.module] > 1:
        return run
    return Run(LayerName(run.name.module, None, run.name.at_input), run.module, run.shape, run.operation)
