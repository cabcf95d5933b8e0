"""The networks that are measured, as they are loaded and as an audit's worker prepares them."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.explainer import Explainer, default_batch_size
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.precision import prepare_for_half_precision
from igcam_batch.attribution.quadrature import Adaptive, Quadrature
from igcam_batch.images import Recipe
from igcam_batch.models.load import build_classifier
from igcam_batch.names import MethodName, PrecisionName, ScoreName

MODELS = {
    "resnet50": ("torchvision:resnet50", "none"),
    "vgg16": ("torchvision:vgg16", "none"),
    "efficientnet-lite0": ("igcam_batch.demo.model:efficientnet_lite0", "DEFAULT"),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Subject:
    """One network in four states, all on the device and in eval mode.

    Attributes:
        loaded: as it was loaded; peers take copies of it.
        plain: frozen, channels_last.
        ours: the same with batch norms folded: what the engine runs, and what its floor is the forward pass of.
        half: the same as the engine runs it under bf16.
        folded: how many batch norms there were.
        layer: what is explained.
        recipe: how images reach it.
    """

    loaded: nn.Module
    plain: nn.Module
    ours: nn.Module
    half: nn.Module
    folded: int
    layer: str
    recipe: Recipe

    @classmethod
    def of(cls, name: str) -> "Subject":
        """One of `MODELS`."""
        classifier = build_classifier(*MODELS[name])
        loaded = classifier.module.eval()
        size = classifier.recipe.size
        probe = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        layer = choose_layer(loaded, probe, classifier.default_layer).name
        plain = _prepared(loaded)
        ours = copy.deepcopy(loaded)
        folded = fold_batch_norms(ours, layer, probe)
        ours = _prepared(ours) if folded else plain
        half = copy.deepcopy(ours)
        prepare_for_half_precision(half, torch.bfloat16)
        return cls(loaded.to(DEVICE), plain, ours, half, folded, layer, classifier.recipe)

    def black(self) -> Tensor:
        """(3, 1, 1), black in the space of the network's inputs."""
        mean, std = (
            torch.tensor(values, device=DEVICE).view(3, 1, 1) for values in (self.recipe.mean, self.recipe.std)
        )
        return -mean / std

    def explainer(
        self,
        methods: list[MethodName],
        along: Quadrature | Adaptive,
        baseline: Tensor,
        precision: PrecisionName = "fp32",
        score: ScoreName = "logit",
    ) -> Explainer:
        """The engine, as a worker sets it up."""
        return Explainer(
            self.half if precision == "bf16" else self.ours,
            self.layer,
            methods=methods,
            along=along,
            baselines=[baseline],
            score=score,
            confidence="softmax",
            batch_size=default_batch_size(DEVICE),
            precision=precision,
        )


def _prepared(model: nn.Module) -> nn.Module:
    own = copy.deepcopy(model).requires_grad_(False)
    return own.to(DEVICE).to(memory_format=torch.channels_last)
