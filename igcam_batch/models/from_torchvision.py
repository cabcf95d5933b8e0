"""`--model torchvision:NAME`: every classification model of torchvision."""

from contextlib import nullcontext
from typing import Any

from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.models.classifier import Classifier
from igcam_batch.models.imagenet import CLASSES, imagenet_names, imagenet_wordnet_ids
from igcam_batch.models.names import no_such_name
from igcam_batch.models.weights import downloading

_ASK_FOR_INIT = ("googlenet", "inception_v3")  # they warn, and draw slowly, unless told


def build(name: str, *, pretrained: bool, classes: int | None = None) -> Classifier:
    """Make a model.

    Args:
        name: torchvision's builder, as `resnet50`.
        pretrained: load the library's best weights, from its cache or its server.
        classes: number of outputs, when not the 1000 of ImageNet.

    Raises:
        InputError: no such model, or its weights cannot be had.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(no_such_name(f"--model torchvision:{name}", name, known, "torchvision"))
    weights = models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {"init_weights": False} if name in _ASK_FOR_INIT and not pretrained else {}
    if classes is not None:
        options["num_classes"] = classes
    with downloading(f"--model torchvision:{name} --weights DEFAULT") if pretrained else nullcontext():
        module: nn.Module = models.get_model(name, weights=weights if pretrained else None, **options)
    imagenet = classes in (None, CLASSES)
    return Classifier(
        module,
        _recipe(weights.transforms()),
        class_names=imagenet_names() if imagenet else None,
        class_ids=imagenet_wordnet_ids() if imagenet else None,
    )


def _recipe(preset: ImageClassification) -> Recipe:
    return Recipe(
        size=preset.crop_size[0],
        resize="crop",
        resize_size=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
