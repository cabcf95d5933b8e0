"""The engine: every method's maps for a batch of images, with each forward pass of the trunk made once.

The node at α = 1 of a path is the prediction's own forward pass, so `predict` makes it and keeps its graph; `maps` then
evaluates the remaining nodes, batched over images and steps together. All targets of an image and all methods
share these passes. No gradient is ever computed below the layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.cams import METHODS, Method
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.attribution.split import Split
from igcam_batch.errors import InputError
from igcam_batch.names import ConfidenceName, MethodName, PrecisionName, RuleName, ScoreName

NO_TARGET = -1  # pads the targets of an image that has fewer than its neighbours
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def default_batch_size(device: torch.device) -> int:
    """Images × steps in one forward pass where nobody says: what CPUs' caches hold, what keeps a GPU busy."""
    return 64 if device.type == "cuda" else 8


def confidences(logits: Tensor, kind: ConfidenceName) -> Tensor:
    """Logits (B, C) -> confidences (B, C) float32: softmax over classes, or a sigmoid for each."""
    return logits.float().softmax(1) if kind == "softmax" else logits.float().sigmoid()


@dataclass(frozen=True)
class Prediction:
    """The forward pass of the images themselves, with what the maps need of it.

    Attributes:
        images: (B, 3, H, W).
        activations: (B, N, u, v), a leaf of the autograd graph.
        scores: (B, C) float32, what is differentiated: logits or probabilities, a function of `activations`.
        logits: (B, C) float32, detached.
    """

    images: Tensor
    activations: Tensor
    scores: Tensor
    logits: Tensor


class Explainer:
    """Class activation maps of one layer of one model.

    Args:
        model: maps (B, 3, H, W) to logits (B, C); in eval mode with frozen parameters (`frozen`).
        layer: dotted module name.
        methods: names of the maps to compute.
        steps: quadrature nodes along the path.
        rule: quadrature rule.
        score: what is differentiated, logit or probability.
        confidence: what a probability is, softmax or sigmoid.
        baseline: (3, H, W), where paths start, in the images' own space.
        batch_size: images × steps in one forward pass; may be changed between calls.
        precision: fp32, or the dtype that autocast computes in; maps are float32 whatever it is.

    Raises:
        LayerError: the model has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        methods: Sequence[MethodName],
        steps: int,
        rule: RuleName,
        score: ScoreName,
        confidence: ConfidenceName,
        baseline: Tensor,
        batch_size: int,
        precision: PrecisionName = "fp32",
    ) -> None:
        self._split = Split(model, layer)
        self._methods = {name: METHODS[name] for name in methods}
        self._quadrature = RULES[rule](steps)
        self._score = score
        self._confidence = confidence
        self._baseline = baseline
        self._baseline_activations: Tensor | None = None
        self.batch_size = batch_size
        self._precision = precision

    def predict(self, images: Tensor) -> Prediction:
        """Run the images (B, 3, H, W) through the model once."""
        with self._arithmetic(images):
            activations, logits = self._split(images)
        return Prediction(images, activations, self._scores(logits), logits.detach().float())

    def maps(self, prediction: Prediction, targets: Tensor) -> dict[MethodName, Tensor]:
        """Explain the targets of every image of a prediction, whose graph is used up by it.

        Args:
            prediction: from `predict`.
            targets: (B, K) int64 class indices; NO_TARGET where an image has fewer than K, which gives a zero map.

        Returns:
            method name -> (B, K, u, v) float32, non-negative.
        """
        shape = (*targets.shape, *prediction.activations.shape[-2:])
        maps = {name: prediction.images.new_zeros(shape, dtype=torch.float32) for name in self._methods}
        quadrature = self._quadrature

        weight_at_input = float(quadrature.weights[quadrature.nodes == 1].sum())
        activations = prediction.activations.detach()
        for k, gradients in _head_gradients(prediction.scores, prediction.activations, targets):
            for name, method in self._methods.items():
                weight = weight_at_input if method.integrated else 1.0
                if weight:
                    maps[name][:, k] += weight * method.cam(self._relative(method, activations), gradients)

        paths = {name: method for name, method in self._methods.items() if method.integrated}
        for nodes, weights in self._node_batches(prediction.images) if paths else ():
            points = self._points(prediction.images, nodes)
            with self._arithmetic(points):
                leaf, logits = self._split(points)
            activations = leaf.detach()
            for k, gradients in _head_gradients(self._scores(logits), leaf, targets.repeat(len(nodes), 1)):
                for name, method in paths.items():
                    slices = method.cam(self._relative(method, activations), gradients)
                    maps[name][:, k] += torch.einsum("t,tbuv->buv", weights, slices.unflatten(0, (len(nodes), -1)))
        return maps

    def confidence(self, images: Tensor, classes: Tensor) -> Tensor:
        """Ψ: (n, 3, H, W), (n,) class indices -> (n,) float32, without gradients, in passes of the batch size."""
        found = []
        for some, their_classes in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            with torch.no_grad(), self._arithmetic(some):
                logits = self._split.model(some)
            found.append(confidences(logits, self._confidence).gather(1, their_classes.unsqueeze(1)).squeeze(1))
        return torch.cat(found)

    def _points(self, images: Tensor, nodes: Tensor) -> Tensor:
        """γ(α) = x' + α (x - x') for every node and image: (t·B, 3, H, W), node by node."""
        points = torch.lerp(self._baseline, images, nodes.view(-1, 1, 1, 1, 1)).flatten(0, 1)
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        return points.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    def _node_batches(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The nodes and weights of the path but α = 1, which `predict` has, as many at once as the batch size lets."""
        nodes, weights = self._quadrature.nodes, self._quadrature.weights
        inner = nodes < 1
        if all(method.relative for method in self._methods.values() if method.integrated):
            inner &= nodes > 0  # A - A(x') is 0 there
        if not inner.any():
            return
        at_once = max(1, self.batch_size // len(images))
        for places, shares in zip(
            torch.from_numpy(nodes[inner]).split(at_once), torch.from_numpy(weights[inner]).split(at_once), strict=True
        ):
            yield places.to(images), shares.to(images.device, torch.float32)

    def _relative(self, method: Method, activations: Tensor) -> Tensor:
        """Activations as the method takes them: above the baseline's, or as they are."""
        if not method.relative:
            return activations
        if self._baseline_activations is None:
            with self._arithmetic(self._baseline):
                self._baseline_activations = self._split.activations(self._baseline.unsqueeze(0)).float()
        return activations.float() - self._baseline_activations

    def _scores(self, logits: Tensor) -> Tensor:
        return logits.float() if self._score == "logit" else confidences(logits, self._confidence)

    def _arithmetic(self, images: Tensor) -> AbstractContextManager[object]:
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(images.device.type, dtype=_DTYPES[self._precision])


def _head_gradients(scores: Tensor, activations: Tensor, targets: Tensor) -> Iterator[tuple[int, Tensor]]:
    """k, and ∂ scores[b, targets[b, k]] / ∂ activations[b] for every image b: (B, N, u, v).

    Images do not interact in eval mode, so one backward pass through the head serves the k-th target of all of them.

    Args:
        scores: (B, C), a function of `activations`.
        activations: (B, N, u, v).
        targets: (B, K).
    """
    count = targets.shape[1]
    for k, classes in enumerate(targets.unbind(1)):
        chosen = torch.zeros_like(scores).scatter_(1, classes.clamp_min(0).unsqueeze(1), 1.0)
        chosen *= (classes != NO_TARGET).unsqueeze(1)
        yield k, torch.autograd.grad(scores, activations, chosen, retain_graph=k + 1 < count)[0]


def check_targets(targets: Tensor, classes: int) -> None:
    """InputError unless every target is one of `classes` class indices."""
    wrong = targets[(targets < 0) | (targets >= classes)]
    if wrong.numel():
        raise InputError(f"target {int(wrong[0])}: the model has {classes} classes, 0 to {classes - 1}")
