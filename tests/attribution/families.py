"""The families of classification CNNs that the tests run, one small member of each, with random weights."""

from typing import NamedTuple

import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models


class Family(NamedTuple):
    """One member stands for all.

    Attributes:
        layer: what its last convolution gives, after norm and activation, before pooling.
        side: of an image whose last map is small, but has 2 × 2 positions.
    """

    layer: str
    side: int = 64


TORCHVISION = {
    "alexnet": Family("features.11"),
    "convnext_tiny": Family("features"),
    "densenet121": Family("features"),  # the ReLU after it is a function
    "efficientnet_b0": Family("features"),
    "efficientnet_v2_s": Family("features"),
    "googlenet": Family("inception5b"),
    "inception_v3": Family("Mixed_7c", 107),
    "maxvit_t": Family("blocks.3"),
    "mnasnet0_5": Family("layers"),
    "mobilenet_v2": Family("features"),
    "mobilenet_v3_small": Family("features"),
    "regnet_x_400mf": Family("trunk_output"),
    "regnet_y_400mf": Family("trunk_output"),
    "resnet18": Family("layer4"),
    "resnext50_32x4d": Family("layer4"),
    "shufflenet_v2_x0_5": Family("conv5"),
    "squeezenet1_1": Family("classifier.2"),
    "vgg11": Family("features.19"),
    "vgg11_bn": Family("features.27"),
    "wide_resnet50_2": Family("layer4"),
}
TIMM = {
    "convnextv2_atto": Family("norm_pre"),  # the identity after the last stage; LayerNorm follows pooling
    "dla46_c": Family("level5"),
    "eca_nfnet_l0": Family("final_act"),
    "edgenext_xx_small": Family("norm_pre"),
    "ese_vovnet19b_slim_dw": Family("stages"),
    "fasternet_t0": Family("stages"),  # here and in others, a convolution of 1 × 1 follows pooling
    "fastvit_t8": Family("final_conv"),
    "inception_next_atto": Family("stages"),
    "lambda_resnet26t": Family("final_conv"),
    "legacy_xception": Family("act4"),
    "mixnet_s": Family("bn2"),  # timm's norms hold their activation
    "mobilenetv4_conv_small_050": Family("blocks"),
    "mobileone_s0": Family("final_conv"),
    "regnetz_005": Family("final_conv"),
    "repvgg_a0": Family("final_conv"),
    "resnest14d": Family("layer4"),
    "resnetv2_50x1_bit": Family("norm"),
    "selecsls42": Family("head", 128),
    "skresnet18": Family("layer4"),
    "starnet_s050": Family("norm"),
    "tf_efficientnet_lite0": Family("bn2"),
}
FAMILIES = TORCHVISION | {f"timm:{name}": family for name, family in TIMM.items()}

_OPTIONS: dict[str, dict[str, bool]] = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def untrained(name: str, classes: int = 1000) -> nn.Module:
    """A network of a family, as its library initialises it, in eval mode."""
    torch.manual_seed(4)
    if name.startswith("timm:"):
        return timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=classes).eval()
    return models.get_model(name, weights=None, num_classes=classes, **_OPTIONS.get(name, {})).eval()


def small(name: str) -> nn.Module:
    """A network of a family with 100 classes, that takes images of its family's side."""
    if name != "maxvit_t":
        return untrained(name, classes=100)
    torch.manual_seed(4)
    return models.MaxVit(  # whose windows of 7 × 7 want 224 pixels; here they are 2 × 2
        input_size=(64, 64),
        partition_size=2,
        stem_channels=32,
        block_channels=[32, 64, 128, 256],
        block_layers=[2, 2, 5, 2],
        head_dim=32,
        stochastic_depth_prob=0.2,
        num_classes=100,
    ).eval()


def enlivened(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """`model` with all its branches alive, and activations of ordinary size for such images.

    Scales that start at 0 or near, of norms and of whole branches, become ordinary numbers, as after training; and
    running statistics become those of the images.
    """
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                if name.endswith("bias"):
                    parameter.normal_(0, 0.1)
                else:
                    parameter.uniform_(0.5, 1.5)
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        model(images)
    return model.eval().requires_grad_(False)
