"""The networks that are measured, as they are loaded and as an audit's worker prepares them."""

import copy
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor, nn

from igcam_batch.attribution.explainer import Explainer, default_batch_size
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.quadrature import Adaptive, Quadrature
from igcam_batch.attribution.ready import make_ready
from igcam_batch.images import Recipe
from igcam_batch.models.load import build_classifier
from igcam_batch.names import MethodName, PrecisionName, ScoreName

MODELS = {
    "resnet50": ("torchvision:resnet50", "none"),
    "vgg16": ("torchvision:vgg16", "none"),
    "efficientnet-lite0": ("igcam_batch.demo.model:efficientnet_lite0", "DEFAULT"),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName) if DEVICE.type == "cuda" else ("fp32", "bf16")
"""Those whose pace differs on this device, fp32 first."""


@dataclass(frozen=True)
class Subject:
    """One network, on the device and in eval mode.

    Attributes:
        loaded: as it was loaded; peers take copies of it.
        plain: frozen, channels_last.
        folds: whether it has batch norms that are folded.
        layer: what is explained.
        recipe: how images reach it.
    """

    loaded: nn.Module
    plain: nn.Module
    folds: bool
    layer: str
    recipe: Recipe
    _ready: dict[PrecisionName, nn.Module] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str) -> "Subject":
        """One of `MODELS`."""
        classifier = build_classifier(*MODELS[name])
        loaded, recipe = classifier.module.eval(), classifier.recipe
        probe = _probe(recipe)
        layer = choose_layer(loaded, probe, classifier.default_layer).name
        folds = fold_batch_norms(copy.deepcopy(loaded), layer, probe) > 0
        plain = copy.deepcopy(loaded).requires_grad_(False).to(DEVICE).to(memory_format=torch.channels_last)
        return cls(loaded.to(DEVICE), plain, folds, layer, recipe)

    def ready(self, precision: PrecisionName) -> nn.Module:
        """As an audit's worker runs it; in fp32 also what the engine's floor is the forward pass of."""
        if precision not in self._ready:
            own = copy.deepcopy(self.loaded).cpu().requires_grad_(False)
            self._ready[precision] = make_ready(own, self.layer, _probe(self.recipe), DEVICE, precision)
        return self._ready[precision]

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
            self.ready(precision),
            self.layer,
            methods=methods,
            along=along,
            baselines=[baseline],
            score=score,
            confidence="softmax",
            batch_size=default_batch_size(DEVICE),
            precision=precision,
        )


def _probe(recipe: Recipe) -> Tensor:
    return torch.randn(1, 3, recipe.size, recipe.size, generator=torch.Generator().manual_seed(0))
