"""Which layers of a network can be explained, found by watching one forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.split import LayerError, find_layer, frozen

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
    nn.FractionalMaxPool2d,
)
_ATTENTIONS_OF_A_CNN = 1  # after its last convolution: a pooling by attention


@dataclass(frozen=True)
class Layer:
    """A module that runs once in a forward pass and gives a spatial map.

    Attributes:
        name: dotted module name, as `--layer` takes it.
        kind: class name of the module.
        shape: (N, u, v) of its output.
        default: whether it is explained when no layer is named.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    default: bool


def explainable_layers(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers of `model` that give a spatial map for `inputs`, in the order in which they finish.

    The default is what the last convolution gives after its norm and activation, before pooling: the last module to
    finish at the last convolution's resolution that is no pooling.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.

    Raises:
        LayerError: the model has no convolution with a spatial output, or is a transformer.
    """
    finished: list[tuple[str, nn.Module, tuple[int, int, int]]] = []
    attentions: list[int] = []  # how many maps were finished before each

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def record(_module: nn.Module, _inputs: object, output: object) -> None:
            if "Attention" in type(module).__name__:
                attentions.append(len(finished))
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] * output.shape[-2] > 1:
                _, channels, rows, columns = output.shape
                finished.append((name, module, (channels, rows, columns)))

        return module.register_forward_hook(record)

    handles = [watch(name, module) for name, module in model.named_modules() if name]
    try:
        with frozen(model), torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()

    names = [name for name, _, _ in finished]
    last_convolution = max(
        (index for index, (_, module, _) in enumerate(finished) if isinstance(module, _CONVOLUTIONS)), default=None
    )
    if last_convolution is None:
        raise LayerError(f"{type(model).__name__} has no convolution that gives a spatial map to explain")
    if sum(before > last_convolution for before in attentions) > _ATTENTIONS_OF_A_CNN:
        raise LayerError(
            f"{type(model).__name__} is a transformer: its last convolution only cuts the image into patches, and no "
            "layer after it gives a spatial map to explain"
        )
    resolution = finished[last_convolution][2][1:]
    default = max(
        index
        for index, (name, module, shape) in enumerate(finished)
        if index >= last_convolution
        and shape[1:] == resolution
        and names.count(name) == 1
        and not isinstance(module, _POOLING)
    )
    return [
        Layer(name, type(module).__name__, shape, index == default)
        for index, (name, module, shape) in enumerate(finished)
        if names.count(name) == 1
    ]


def choose_layer(model: nn.Module, inputs: Tensor, layer: str | None) -> Layer:
    """`layer` if the model has it and it can be explained, else the default for None.

    Args:
        model: a classifier.
        inputs: (B, 3, H, W), any values, at the size the model will see.
        layer: dotted module name, or None.

    Raises:
        LayerError: no such module, or it gives no spatial map, or it runs more than once; names the default.
    """
    layers = {found.name: found for found in explainable_layers(model, inputs)}
    default = next(found for found in layers.values() if found.default)
    if layer is None:
        return default
    if layer in layers:
        return layers[layer]
    try:
        find_layer(model, layer)
    except LayerError:
        problem = f"{type(model).__name__} has no such module"
    else:
        problem = "gives no spatial map, or runs other than once, in a forward pass"
    raise LayerError(
        f"--layer {layer}: {problem}; the last feature map is {default.name}, `igcam-batch layers MODEL` lists all"
    )
