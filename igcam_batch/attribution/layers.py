"""Which layers of a network can be explained, found by watching one forward pass."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.layer_names import LayerError
from igcam_batch.attribution.runs import Run, Shape, shape_of_map, watch
from igcam_batch.attribution.split import find_layer

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


@dataclass(frozen=True)
class Layer:
    """A spatial map in a forward pass, that a module gives, or takes where no module gives it.

    Attributes:
        name: as `--layer` takes it: a dotted module name; `NAME#K` for the K-th run of a module that runs several
            times; `NAME:input` for a map that functions between modules made.
        kind: class name of the module.
        shape: (N, u, v) of the map.
        default: whether it is explained when no layer is named.
    """

    name: str
    kind: str
    shape: Shape
    default: bool


def explainable_layers(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers of `model` that give a spatial map for `inputs`, in the order in which they finish.

    The default is what the last convolution gives after its norm and activation, before pooling: the last module to
    finish at the last convolution's resolution that is no pooling; or the input of a later one, where functions made
    it, as a concatenation or a sum does of branches. A transformer has none.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.
    """
    runs = _maps(model, inputs)
    return _layers(runs, _default(runs)[0])


def choose_layer(model: nn.Module, inputs: Tensor, layer: str | None) -> Layer:
    """`layer` if the model has it and it can be explained, else the default for None.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.
        layer: as `Layer.name`, or None.

    Raises:
        LayerError: no such module, or it gives no spatial map, or runs several times and it is not said which is meant;
            names the default. For None: the model has no convolution with a spatial output, or is a transformer.
    """
    runs = _maps(model, inputs)
    default, why_none = _default(runs)
    layers = {found.name: found for found in _layers(runs, default)}
    chosen = layer if layer is not None else default
    if chosen is None:
        raise LayerError(f"{type(model).__name__} {why_none}")
    if chosen in layers:
        return layers[chosen]
    raise LayerError(
        f"--layer {layer}: {_problem(model, chosen, list(layers))}; the last feature map is "
        f"{default or next(reversed(layers), 'none')}, `igcam-batch layers MODEL` lists all"
    )


def _problem(model: nn.Module, layer: str, there: list[str]) -> str:
    try:
        find_layer(model, layer)
    except LayerError:
        return f"{type(model).__name__} has no such module"
    of_runs = [name for name in there if name.startswith(f"{layer}#") and not name.endswith(":input")]
    if of_runs:
        return f"runs {len(of_runs)} times in a forward pass, as {of_runs[0]} to {of_runs[-1]}"
    return "gives no spatial map in a forward pass"


def _maps(model: nn.Module, inputs: Tensor) -> list[Run]:
    """Every run of every module in one forward pass; what only looks like a map has no shape.

    Activations (B, u, v, N), as of Swin's blocks, have the dimensions of a map and are none. What a linear layer takes
    and gives is laid out so, and whatever else has the same shape, unless a convolution gives it too.
    """
    linear: set[Shape | None] = set()

    def note(_module: nn.Module, taken: tuple[object, ...], output: object) -> None:
        linear.update(map(shape_of_map, (*taken, output)))

    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Linear)]
    try:
        with frozen(model), torch.no_grad():
            runs = watch(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    linear -= {run.shape for run in runs if isinstance(run.module, _CONVOLUTIONS) and not run.name.at_input}
    return [replace(run, shape=None) if run.shape in linear else run for run in runs]


def _layers(runs: list[Run], default: str | None) -> list[Layer]:
    return [
        Layer(str(run.name), type(run.module).__name__, run.shape, str(run.name) == default)
        for run in runs
        if run.shape
    ]


def _default(runs: list[Run]) -> tuple[str | None, str]:
    """The name of the default layer; or None, and why the model has none."""
    maps = {index: run.shape for index, run in enumerate(runs) if run.shape}
    maps = {index: shape for index, shape in maps.items() if shape[0] > 1} or maps  # one channel masks: attention
    convolutions = [
        index for index in maps if isinstance(runs[index].module, _CONVOLUTIONS) and not runs[index].name.at_input
    ]
    if not convolutions:
        return None, "has no convolution that gives a spatial map to explain"
    last = convolutions[-1]
    candidates = [
        index
        for index, shape in maps.items()
        if index >= last
        and shape[1:] == maps[last][1:]
        and not (isinstance(runs[index].module, _POOLING) and not runs[index].name.at_input)
    ]
    chosen = candidates[-1]
    after = sum(
        not run.name.at_input and (isinstance(run.module, nn.Linear) or "Attention" in type(run.module).__name__)
        for run in runs[chosen + 1 :]
    )
    name = str(runs[chosen].name)
    if after > _MOST_IN_A_HEAD:
        return None, (
            f"is a transformer, or mixes patches as one does: {after} linear and attention layers come after {name}, "
            "its last spatial map; --layer NAME explains a layer all the same"
        )
    return name, ""
