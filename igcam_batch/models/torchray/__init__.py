"""`--model torchray:NAME`: the networks that the Integrated Grad-CAM paper explains, as TorchRay published them.

VGG-16 and ResNet-50, fine-tuned in Caffe on Pascal VOC 2007 and on COCO 2014 for Zhang et al., "Top-down Neural
Attention by Excitation Backprop", ECCV 2016. Their heads are multi-label: confidences are sigmoids.

https://github.com/facebookresearch/TorchRay/blob/master/torchray/benchmark/models.py
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.models.classifier import Classifier
from igcam_batch.models.names import no_such_name
from igcam_batch.models.torchray.checkpoint import converted
from igcam_batch.models.torchray.networks import resnet50, vgg16
from igcam_batch.vocabularies import COCO, VOC

__all__ = ["build", "converted"]

RECIPE = Recipe(
    size=224,
    resize="stretch",
    mean=(103.939, 116.779, 123.68),
    std=(1.0, 1.0, 1.0),
    channel_order="bgr",
    pixel_range=255,
)
"""Caffe's preprocessing. The paper stretches to 224 x 224; TorchRay's own pointing game brings the shorter side to 224
and crops nothing, so that its inputs differ in shape (`get_transform`)."""


@dataclass(frozen=True)
class _Published:
    network: Callable[[int], nn.Module]
    class_names: tuple[str, ...]
    url: str


_SERVER = "https://dl.fbaipublicfiles.com/torchray"
_MODELS = {
    "vgg16_voc": _Published(vgg16, VOC, f"{_SERVER}/vgg16_voc-b050e8c3.pth.tar"),
    "vgg16_coco": _Published(vgg16, COCO, f"{_SERVER}/vgg16_coco-d82c8150.pth.tar"),
    "resnet50_voc": _Published(resnet50, VOC, f"{_SERVER}/resnet50_voc-9ca920d6.pth.tar"),
    "resnet50_coco": _Published(resnet50, COCO, f"{_SERVER}/resnet50_coco-e99468c5.pth.tar"),
}


def build(name: str, *, pretrained: bool, classes: int | None = None) -> Classifier:
    """Make a model.

    Args:
        name: `vgg16_voc`, `vgg16_coco`, `resnet50_voc` or `resnet50_coco`.
        pretrained: refused; nothing here downloads TorchRay's checkpoints.
        classes: number of outputs that a checkpoint has, where that is not the name's own: refused.

    Raises:
        InputError: no such model, `pretrained`, or another number of classes; names the way out.
    """
    if name not in _MODELS:
        raise InputError(no_such_name(f"--model torchray:{name}", name, list(_MODELS), "TorchRay"))
    published = _MODELS[name]
    if pretrained:
        raise InputError(
            f"--model torchray:{name} --weights DEFAULT: TorchRay's checkpoints are not downloaded from here; fetch "
            f"{published.url} and name the file with --weights PATH, or take --weights none for seeded random ones"
        )
    own = len(published.class_names)
    if classes not in (None, own):
        fitting = [f"torchray:{other}" for other, model in _MODELS.items() if len(model.class_names) == classes]
        raise InputError(
            f"--model torchray:{name}: has {own} classes, the checkpoint {classes}; "
            + (f"{' and '.join(fitting)} have as many" if fitting else "TorchRay published none with as many")
        )
    return Classifier(published.network(own), RECIPE, class_names=published.class_names, confidence="sigmoid")
