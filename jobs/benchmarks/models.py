"""The three networks, as the worker would hold them and as a user of another library would."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.precision import keep_short_sums_in_full_precision
from igcam_batch.models.load import build_classifier

REFERENCES = {
    "resnet50": ("torchvision:resnet50", "none"),
    "vgg16": ("torchvision:vgg16", "none"),
    "efficientnet-lite0": ("igcam_batch.demo.model:efficientnet_lite0", "DEFAULT"),
}


@dataclass(frozen=True)
class Subject:
    """One network and a batch for it.

    Attributes:
        layer: the layer that is explained.
        plain: as loaded, channels_last, frozen.
        ours: as the worker prepares it for float32, batch norms folded.
        halved: as the worker prepares it for bfloat16.
        images: (n, 3, 224, 224), channels_last.
        targets: (n,) class indices.
    """

    layer: str
    plain: nn.Module
    ours: nn.Module
    halved: nn.Module
    images: Tensor
    targets: Tensor

    def theirs(self) -> nn.Module:
        """A copy with parameters as loaded, so that a peer's hooks slow nobody else down."""
        return copy.deepcopy(self.plain).requires_grad_(True)


def subject(name: str, images: int, device: str) -> Subject:
    """Build one of REFERENCES, with seeded noise for images: time does not depend on what they show."""
    plain = build_classifier(*REFERENCES[name]).module.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(images, 3, 224, 224, generator=generator)
    layer = choose_layer(plain, batch[:1], None).name
    ours = copy.deepcopy(plain)
    fold_batch_norms(ours, layer, batch[:1])
    halved = copy.deepcopy(ours)
    keep_short_sums_in_full_precision(halved)
    plain, ours, halved = (model.to(device).to(memory_format=torch.channels_last) for model in (plain, ours, halved))
    batch = batch.to(device).contiguous(memory_format=torch.channels_last)
    return Subject(layer, plain, ours, halved, batch, torch.arange(images, device=device))
