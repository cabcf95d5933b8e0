"""The settings of an audit -> the model it explains: the same in the driver and in every worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import cast

import torch
from torch import nn

from igcam_batch.attribution.head import NO_CAM, pooled_linear_weights
from igcam_batch.attribution.layers import Layer, choose_layer, explainable_layers
from igcam_batch.attribution.split import Split
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError, one_line
from igcam_batch.images import Recipe
from igcam_batch.models import from_factory, weights
from igcam_batch.models.classes import ClassNames
from igcam_batch.models.classifier import Classifier
from igcam_batch.names import ConfidenceName

_LIBRARIES = {"torchvision": "from_torchvision", "timm": "from_timm", "torchray": "torchray"}
"""Where each is built. Imported when it is asked for: torchvision and timm take seconds."""
_SEED = 0


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be explained, on the CPU, in eval mode with frozen parameters.

    Attributes:
        module: maps (B, 3, size, size) to logits (B, C).
        recipe: how an image becomes its input, after the settings' overrides.
        classes: its classes and their names.
        confidence: how its logits become confidences.
        layer: the layer that is explained.
        map_shape: (u, v) of the maps that are stored.
        sha256: of its parameters and buffers.
    """

    module: nn.Module
    recipe: Recipe
    classes: ClassNames
    confidence: ConfidenceName
    layer: str
    map_shape: tuple[int, int]
    sha256: str


def load_model(config: AuditConfig) -> LoadedModel:
    """Build the model, load its weights, and find the layer.

    Raises:
        InputError: no such model, weights or layer, or weights that do not fit; names what there is.
    """
    classifier = build_classifier(config.model, config.weights)
    module = classifier.module.cpu().eval().requires_grad_(False)  # a factory may have moved it where probes are not
    recipe = classifier.recipe.override(
        size=config.input_size,
        resize=config.resize,
        resize_size=config.resize_size,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        channel_order=config.channel_order,
        pixel_range=config.pixel_range,
    )
    probe = torch.zeros(1, 3, recipe.size, recipe.size, device="cpu")
    with _first_pass(config.model, recipe.size):
        layer = choose_layer(module, probe, config.layer or classifier.default_layer)
        activations, logits = Split(module, layer.name)(probe)
    if "cam" in config.method and pooled_linear_weights(activations, logits) is None:
        raise InputError(NO_CAM)
    return LoadedModel(
        module,
        recipe,
        ClassNames.of(classifier, logits.shape[1], config.class_map),
        config.confidence or classifier.confidence,
        layer.name,
        _map_shape(config, layer, recipe),
        weights.sha256(module),
    )


def _map_shape(config: AuditConfig, layer: Layer, recipe: Recipe) -> tuple[int, int]:
    """(u, v) of the stored maps: the layer's; the input's, or --map-size, where all methods go by pixels."""
    if config.method == ("integrated-gradients",):
        side = config.map_size or recipe.size
        return side, side
    return layer.shape[1:]


def list_layers(model: str, input_size: int | None = None) -> list[Layer]:
    """The layers of a model that can be explained, the default marked.

    Args:
        model: a model reference; its weights are not loaded.
        input_size: side of its input; None: the model's own.

    Raises:
        InputError: no such model, or it has no layer that can be explained.
    """
    classifier = build_classifier(model, "none")
    size = input_size or classifier.recipe.size
    probe = torch.zeros(1, 3, size, size, device="cpu")
    with _first_pass(model, size):
        module = classifier.module.cpu()  # a factory may have moved it where the probe is not
        default = choose_layer(module, probe, classifier.default_layer)
        layers = explainable_layers(module, probe)
    return [replace(layer, default=layer.name == default.name) for layer in layers]


@contextmanager
def _first_pass(model: str, size: int) -> Iterator[None]:
    """InputError for whatever a model's first forward pass raises: an input too small, a bug in the user's code."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = one_line(error)
        raise InputError(
            f"--model {model}: a forward pass of {size} x {size} pixels raised {type(error).__name__}: {said}; "
            "--input-size sets another size"
        ) from error


def build_classifier(model: str, wanted: str) -> Classifier:
    """The model that a reference names, with the weights that `--weights` names.

    Random weights are drawn from a fixed seed, so that every worker draws the same.
    """
    library, _, name = model.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if library in _LIBRARIES:
            return _from_library(library, name, wanted)
        classifier = from_factory.build(model)
    if wanted not in ("DEFAULT", "none"):
        tensors = weights.without_prefix(weights.read_state_dict(wanted), classifier.module.state_dict())
        weights.fit(classifier.module, tensors, wanted, model)
    return classifier


def _from_library(library: str, name: str, wanted: str) -> Classifier:
    home = import_module(f"igcam_batch.models.{_LIBRARIES[library]}")
    build = cast(Callable[..., Classifier], home.build)
    if wanted in ("DEFAULT", "none"):
        return build(name, pretrained=wanted == "DEFAULT")
    classifier = build(name, pretrained=False)
    tensors = weights.without_prefix(weights.read_state_dict(wanted), classifier.module.state_dict())
    if library == "torchray":
        tensors = home.converted(name, tensors, wanted)
    classes = weights.classes_of(tensors, classifier.module)
    if classes is not None:
        classifier = build(name, pretrained=False, classes=classes)
    weights.fit(classifier.module, tensors, wanted, f"{library}:{name}")
    return classifier
