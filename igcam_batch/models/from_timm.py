"""`--model timm:NAME`: every model of timm, with the preprocessing its configuration names."""

import math
from contextlib import nullcontext
from typing import Any

import timm
from timm.data.config import resolve_model_data_config

from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.models.classifier import Classifier
from igcam_batch.models.imagenet import CLASSES, imagenet_names, imagenet_wordnet_ids
from igcam_batch.models.names import no_such_name
from igcam_batch.models.weights import downloading


def build(name: str, *, pretrained: bool, classes: int | None = None) -> Classifier:
    """Make a model.

    Args:
        name: timm's name, with or without a tag of pretrained weights, as `resnet50.a1_in1k`.
        pretrained: load its weights, from the cache or from the hub.
        classes: number of outputs, when not the model's own.

    Raises:
        InputError: no such model, or its weights cannot be had.
    """
    if not timm.is_model(name):
        raise InputError(no_such_name(f"--model timm:{name}", name, timm.list_models(), "timm"))
    if "." in name and name not in (tagged := timm.list_models(include_tags=True)):
        raise InputError(no_such_name(f"--model timm:{name}", name, tagged, "timm"))
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    with downloading(f"--model timm:{name} --weights DEFAULT") if pretrained else nullcontext():
        module = timm.create_model(name, pretrained=pretrained, **options)
    imagenet = module.num_classes == CLASSES
    return Classifier(
        module,
        _recipe(resolve_model_data_config(module)),
        class_names=imagenet_names() if imagenet else None,
        class_ids=imagenet_wordnet_ids() if imagenet else None,
    )


def _recipe(config: dict[str, Any]) -> Recipe:
    size = config["input_size"][-1]
    return Recipe(
        size=size,
        resize="stretch" if config["crop_mode"] == "squash" else "crop",
        resize_size=math.floor(size / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
