"""The tensors of a checkpoint that TorchRay published -> those of our networks.

The files are bare state dicts of the networks that the Caffe models were converted to, without a wrapper:

- VGG-16 has no dropout layers, so that its linear layers are `classifier.0`, `.2` and `.4`, and holds their weights as
  those of convolutions: (4096, 512, 7, 7), (4096, 4096, 1, 1), (C, 4096, 1, 1).
- ResNet-50 keeps Caffe's BatchNorm (`bn1.0.running_mean`, `.running_var`) apart from its Scale (`bn1.1.weight`,
  `.bias`); so too `downsample.1.0` and `downsample.1.1`.
- The first convolution takes blue, green, red. TorchRay turns its weights to red, green, blue as it loads them; ours
  stay, and the recipe turns the image.

Sources: `_load_caffe_vgg16` and `_load_caffe_resnet50` in TorchRay's torchray/benchmark/models.py.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from igcam_batch.errors import InputError

_WITHOUT_DROPOUT = {"classifier.2": "classifier.3", "classifier.4": "classifier.6"}
_NORM_AND_SCALE = re.compile(r"\b(bn\d|downsample\.1)\.[01]\.")
_NAMES_OF_TORCHVISION = {"vgg16": "classifier.6.weight", "resnet50": "bn1.weight"}


def converted(name: str, tensors: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """A published checkpoint's tensors under the names and in the shapes of our networks; the others as they are.

    Args:
        name: of the model, as `vgg16_voc`.
        tensors: as `read_state_dict` gives them.
        path: of the checkpoint, for the error.

    Raises:
        InputError: they were saved from a model that TorchRay or torchvision had loaded, which takes red, green, blue.
    """
    network = name.partition("_")[0]
    if _NAMES_OF_TORCHVISION[network] in tensors:
        raise InputError(
            f"--weights {path}: holds {_NAMES_OF_TORCHVISION[network]}, as a loaded {network} does, and not as the "
            f"file that TorchRay published for {name}; a loaded model may take its channels in another order. Name the "
            "published file itself, or load this one in a factory of your own (--model package.module:factory)"
        )
    convert = _vgg16 if network == "vgg16" else _resnet50
    return dict(convert(each, tensor) for each, tensor in tensors.items())


def _vgg16(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    module, _, kind = name.rpartition(".")
    linear = module.startswith("classifier.") and kind == "weight"
    return f"{_WITHOUT_DROPOUT.get(module, module)}.{kind}", tensor.flatten(1) if linear and tensor.ndim > 1 else tensor


def _resnet50(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    return _NORM_AND_SCALE.sub(r"\1.", name), tensor
