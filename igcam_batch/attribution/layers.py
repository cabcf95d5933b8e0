"""Which layers of a network can be explained, found by watching one forward pass."""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from igcam_batch.attribution.split import INPUT, LayerError, find_layer, frozen

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
    nn.FractionalMaxPool2d,
)
_MOST_IN_A_HEAD = 8  # linear and attention layers after the last map: VGG has 3, a pooling by attention 7

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """A module that runs once in a forward pass and gives a spatial map, or takes one that no module gives.

    Attributes:
        name: dotted module name, as `--layer` takes it; `NAME:input` for a map that functions between modules made.
        kind: class name of the module.
        shape: (N, u, v) of the map.
        default: whether it is explained when no layer is named.
    """

    name: str
    kind: str
    shape: Shape
    default: bool


@dataclass(frozen=True)
class _Run:
    """One run of a module in a forward pass, with (N, u, v) of its output where that is a spatial map.

    What it takes has a run of its own, `NAME:input`, where that is a map that no module gave.
    """

    name: str
    module: nn.Module
    shape: Shape | None


def explainable_layers(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers of `model` that give a spatial map for `inputs`, in the order in which they finish.

    The default is what the last convolution gives after its norm and activation, before pooling: the last module to
    finish at the last convolution's resolution that is no pooling; or the input of a later one, where functions made
    it, as a concatenation or a sum does of branches. A transformer has none.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.
    """
    runs = _watch(model, inputs)
    return _layers(runs, _default(runs)[0])


def choose_layer(model: nn.Module, inputs: Tensor, layer: str | None) -> Layer:
    """`layer` if the model has it and it can be explained, else the default for None.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.
        layer: dotted module name, or None.

    Raises:
        LayerError: no such module, or it gives no spatial map, or it runs more than once; names the default. For
            None: the model has no convolution with a spatial output, or is a transformer.
    """
    runs = _watch(model, inputs)
    default, why_none = _default(runs)
    layers = {found.name: found for found in _layers(runs, default)}
    chosen = layer if layer is not None else default
    if chosen is None:
        raise LayerError(f"{type(model).__name__} {why_none}")
    if chosen in layers:
        return layers[chosen]
    try:
        find_layer(model, chosen)
    except LayerError:
        problem = f"{type(model).__name__} has no such module"
    else:
        problem = "gives no spatial map, or runs other than once, in a forward pass"
    last = default or next(reversed(layers), "none")
    raise LayerError(
        f"--layer {layer}: {problem}; the last feature map is {last}, `igcam-batch layers MODEL` lists all"
    )


def _watch(model: nn.Module, inputs: Tensor) -> list[_Run]:
    """Every run of every module in one forward pass, in the order in which they finish.

    Activations (B, u, v, N), as of Swin's blocks, have the dimensions of a map and are none. What a linear layer takes
    and gives is laid out so, and whatever else has the same shape, unless a convolution gives it too.
    """
    runs: list[_Run] = []
    channels_last: set[Shape | None] = set()
    given: dict[int, object] = {id(inputs): inputs}  # what modules gave, kept so that no other takes its identity

    def watch(name: str, module: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        def record_input(_module: nn.Module, taken: tuple[object, ...]) -> None:
            shape = _shape_of_map(taken[0]) if taken else None
            if shape and id(taken[0]) not in given:
                runs.append(_Run(name + INPUT, module, shape))
                given[id(taken[0])] = taken[0]

        def record(_module: nn.Module, taken: tuple[object, ...], output: object) -> None:
            runs.append(_Run(name, module, _shape_of_map(output)))
            given[id(output)] = output
            if isinstance(module, nn.Linear):
                channels_last.update(map(_shape_of_map, (*taken, output)))

        return [module.register_forward_pre_hook(record_input), module.register_forward_hook(record)]

    handles = [handle for name, module in model.named_modules() if name for handle in watch(name, module)]
    try:
        with frozen(model), torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    channels_last -= {run.shape for run in runs if isinstance(run.module, _CONVOLUTIONS) and _is_output(run)}
    return [replace(run, shape=None) if run.shape in channels_last else run for run in runs]


def _shape_of_map(output: object) -> Shape | None:
    """(N, u, v) of (B, N, u, v) with more than one position."""
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[-1] * output.shape[-2] < 2:
        return None
    _, channels, rows, columns = output.shape
    return channels, rows, columns


def _is_output(run: _Run) -> bool:
    return not run.name.endswith(INPUT)


def _layers(runs: list[_Run], default: str | None) -> list[Layer]:
    times = Counter(run.name for run in runs)
    return [
        Layer(run.name, type(run.module).__name__, run.shape, run.name == default)
        for run in runs
        if run.shape and times[run.name] == 1
    ]


def _default(runs: list[_Run]) -> tuple[str | None, str]:
    """The name of the default layer; or None, and why the model has none."""
    resolutions = {index: run.shape[1:] for index, run in enumerate(runs) if run.shape}
    convolutions = [
        index for index in resolutions if isinstance(runs[index].module, _CONVOLUTIONS) and _is_output(runs[index])
    ]
    if not convolutions:
        return None, "has no convolution that gives a spatial map to explain"
    last = convolutions[-1]
    candidates = [
        index
        for index, resolution in resolutions.items()
        if index >= last
        and resolution == resolutions[last]
        and not (isinstance(runs[index].module, _POOLING) and _is_output(runs[index]))
    ]
    times = Counter(run.name for run in runs)
    once = [index for index in candidates if times[runs[index].name] == 1]
    if not once:
        return (
            None,
            f"runs {runs[last].name}, its last convolution, more than once in a forward pass; name another layer",
        )
    after = sum(
        _is_output(run) and (isinstance(run.module, nn.Linear) or "Attention" in type(run.module).__name__)
        for run in runs[once[-1] + 1 :]
    )
    name = runs[once[-1]].name
    if after > _MOST_IN_A_HEAD:
        return None, (
            f"is a transformer, or mixes patches as one does: {after} linear and attention layers come after {name}, "
            "its last spatial map; --layer NAME explains a layer all the same"
        )
    return name, ""
