"""The trunk of one image, computed once: what its modules gave is given again while the head runs on other maps."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igcam_batch.attribution.layer_names import LayerName
from igcam_batch.attribution.operations import Operations
from igcam_batch.attribution.runs import watched_modules


class _CutReached(Exception):  # noqa: N818  # nothing is wrong
    """The rest of a pass is of no interest."""


@dataclass(frozen=True)
class Kept:
    """What a trunk leaves behind.

    Attributes:
        outputs: of each module that had finished before the layer and is part of no other such module, run by run.
        operation: number of the function that gives the layer's map while these are given again; None for a layer that
            is a module's output.
    """

    outputs: dict[nn.Module, list[Any]]
    operation: int | None


@dataclass
class _Running:
    """A module that has begun: what has finished in it, and how many functions it called itself."""

    finished: list[tuple[nn.Module, Any]] = field(default_factory=list)
    functions: int = 0


def kept_trunk(model: nn.Module, layer: LayerName, operation: int | None, image: Tensor) -> Kept:
    """Run the model on an image as far as a layer.

    Args:
        model: in eval mode; run without gradients.
        layer: the cut.
        operation: number of the function that gives its map, where no module does.
        image: (1, 3, H, W).
    """
    running = [_Running()]
    modules = watched_modules(model)
    runs = 0

    def before(_module: nn.Module, _taken: object) -> None:
        running.append(_Running())

    def after(module: nn.Module, _taken: object, output: object) -> None:
        nonlocal runs
        running.pop()
        running[-1].finished.append((module, _copied(output)))
        if operation is None and modules[module] == layer.module:
            runs += 1
            if runs == (layer.run or 1):
                raise _CutReached

    def count(number: int, result: Tensor, _in_place: bool) -> Tensor:
        running[-1].functions += 1
        if number == operation:
            raise _CutReached
        return result

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
        stack.enter_context(Operations(count))
        with suppress(_CutReached):
            model(image)
    outputs: dict[nn.Module, list[Any]] = {}
    for frame in running:
        for module, output in frame.finished:
            outputs.setdefault(module, []).append(output)
    return Kept(outputs, None if operation is None else sum(frame.functions for frame in running))


@contextmanager
def replayed(kept: Kept | None) -> Iterator[None]:
    """Let the modules of a trunk give what they gave, without computing it; None: let them compute."""
    with ExitStack() as stack:
        for module, outputs in (kept.outputs if kept else {}).items():
            stack.enter_context(_giving(module, outputs))
        yield


@contextmanager
def _giving(module: nn.Module, outputs: list[Any]) -> Iterator[None]:
    """A module whose first runs give these outputs, and whose others compute."""
    computing: Callable[..., Any] = module.forward
    own = "forward" in vars(module)
    waiting = iter(outputs)

    def forward(*taken: Any, **named: Any) -> Any:
        for output in waiting:
            return _copied(output)
        return computing(*taken, **named)

    module.forward = forward
    try:
        yield
    finally:
        if own:
            module.forward = computing
        else:
            del module.forward


def _copied(output: Any) -> Any:
    """Tensors that what follows may change in place; the copying is none of the network's own operations."""
    with torch._C.DisableTorchFunction():
        return pytree.tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, output)
