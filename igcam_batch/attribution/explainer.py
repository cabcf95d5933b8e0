"""The engine: every method's maps for a batch of images, with each forward pass of the trunk made once.

The node at α = 1 of a path is the prediction's own forward pass, so `predict` makes it and keeps its graph; `explain`
then evaluates the remaining nodes, batched over images and steps together. All targets of an image and all methods
share these passes. No gradient is ever computed below the layer, unless a method is made of gradients at the input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from igcam_batch.attribution.baselines import Baseline, baseline_images
from igcam_batch.attribution.cams import combine
from igcam_batch.attribution.evaluation import Evaluation
from igcam_batch.attribution.methods import METHODS, AlongPath, AtInput, ByPerturbation, OverNoise
from igcam_batch.attribution.network import NO_TARGET, Network, Pass, confidences
from igcam_batch.attribution.paths import Integral, Path, Slices, integrate, integrate_to
from igcam_batch.attribution.perturbation import Perturbed
from igcam_batch.attribution.quadrature import Adaptive, Quadrature
from igcam_batch.names import ConfidenceName, MethodName, PrecisionName, ScoreName

_NOISE_SEED = 0


def default_batch_size(device: torch.device) -> int:
    """Images × steps in one forward pass where nobody says: what CPUs' caches hold, what keeps a GPU busy."""
    return 64 if device.type == "cuda" else 8


@dataclass(frozen=True)
class Prediction:
    """The forward pass of the images themselves, with what the maps need of it.

    Attributes:
        images: (B, 3, H, W).
        scores: (B, C) float32, what is differentiated: logits or probabilities.
        logits: (B, C) float32, detached.
        made: the pass, whose graph `Explainer.explain` uses up.
    """

    images: Tensor
    scores: Tensor
    logits: Tensor
    made: Pass


@dataclass(frozen=True)
class Explanation:
    """One method's maps of B images for K targets each.

    Attributes:
        maps: (B, K, u, v) float32, non-negative, at the layer's resolution, or the input's of a method by pixels; zero
            where there is no target, NaN for an image whose logits are not finite.
        nodes: (B, K) int64, quadrature nodes behind each map; None for a method that follows no path.
        error: (B, K) float32, the estimate of each map's relative error; None unless integrated to a tolerance.
    """

    maps: Tensor
    nodes: Tensor | None = None
    error: Tensor | None = None


class Explainer:
    """Class activation maps of one layer of one model.

    Args:
        model: maps (B, 3, H, W) to logits (B, C); in eval mode with frozen parameters (`frozen`).
        layer: dotted module name.
        methods: names of the maps to compute.
        along: the quadrature rule along paths, or the tolerance to integrate to.
        baselines: where paths start, in the images' own space; of several, the mean of the maps is taken. Score-CAM
            masks with the first.
        score: what is differentiated, logit or probability.
        confidence: what a probability is, softmax or sigmoid.
        batch_size: images × steps in one forward pass; may be changed between calls.
        precision: fp32 or tf32, as whoever runs this has set torch, or the dtype that autocast computes in; maps are
            float32 whatever it is.

    Raises:
        LayerError: the model has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        methods: Sequence[MethodName],
        along: Quadrature | Adaptive,
        baselines: Sequence[Baseline],
        score: ScoreName,
        confidence: ConfidenceName,
        batch_size: int,
        precision: PrecisionName = "fp32",
    ) -> None:
        self._network = Network(model, layer, score, confidence, precision)
        self._methods = {name: METHODS[name] for name in methods}
        self._paths = {name: method for name, method in self._methods.items() if isinstance(method, AlongPath)}
        self._pixels = any(method.pixels for method in self._paths.values())
        self._along = along
        self._baselines = baselines
        self._activations_of_constants: dict[int, Tensor] = {}
        self._noises: dict[tuple[int, ...], Tensor] = {}
        self.batch_size = batch_size

    def predict(self, images: Tensor) -> Prediction:
        """Run the images (B, 3, H, W) through the model once."""
        images = self._network.laid_out(images)
        made = self._network.forward(images, pixels=self._pixels)
        return Prediction(images, self._network.scores(made.logits), made.logits, made)

    def explain(self, prediction: Prediction, targets: Tensor) -> dict[MethodName, Explanation]:
        """Explain the targets of every image of a prediction, whose graph is used up by it.

        Args:
            prediction: from `predict`.
            targets: (B, K) int64 class indices; NO_TARGET where an image has fewer than K.

        Raises:
            LayerError: a method that does not fit the model.
        """
        found: dict[MethodName, Explanation] = {}
        at_input = self._at_input(prediction.made, targets)
        for name, method in self._methods.items():
            if isinstance(method, AtInput):
                found[name] = Explanation(method.cam(at_input))
            elif isinstance(method, OverNoise):
                found[name] = Explanation(self._over_noise(method, prediction, targets))
            elif isinstance(method, ByPerturbation):
                found[name] = Explanation(self._by_perturbation(method, prediction, targets))
        if self._paths:
            for name, integral in self._along_paths(prediction, at_input, targets).items():
                found[name] = Explanation(integral.maps.relu(), integral.nodes, integral.error)
        return {name: _settled(found[name], prediction.logits, targets) for name in self._methods}

    def confidence(self, images: Tensor, classes: Tensor) -> Tensor:
        """Ψ: (n, 3, H, W), (n,) class indices -> (n,) float32, without gradients, in passes of the batch size."""
        found = []
        for some, their_classes in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            logits = self._network.logits(some)
            found.append(confidences(logits, self._network.confidence).gather(1, their_classes.unsqueeze(1)).squeeze(1))
        return torch.cat(found)

    def _at_input(self, made: Pass, targets: Tensor) -> Evaluation:
        """The prediction's pass, differentiated."""
        gradients, input_gradients = self._network.gradients(made, targets)
        return Evaluation(
            made.activations.detach(), gradients, self._network.class_weights(targets), input_gradients=input_gradients
        )

    def _along_paths(self, prediction: Prediction, at_input: Evaluation, targets: Tensor) -> dict[MethodName, Integral]:
        paths = [self._path(number, prediction.images) for number in range(len(self._baselines))]
        ends = [self._integrands(self._on(path, at_input, 1)) for path in paths]

        def slices_at(places: np.ndarray, rows: Tensor) -> Iterator[tuple[np.ndarray, Slices]]:
            some_paths = [path.of(rows.to(prediction.images.device)) for path in paths]
            some_targets = targets[rows.to(targets.device)]
            at_once = max(1, self.batch_size // max(1, len(rows)))
            for some in np.split(places, range(at_once, len(places), at_once)):
                if len(some):
                    yield some, _mean([self._slices(path, some_targets, some) for path in some_paths])

        zero_at_baseline = {name for name, method in self._paths.items() if method.zero_at_baseline}
        if isinstance(self._along, Adaptive):
            return integrate_to(self._along, _mean(ends), zero_at_baseline, slices_at)
        rules = {name: self._along.mirrored() if path.mirrored else self._along for name, path in self._paths.items()}
        return integrate(rules, _mean(ends), zero_at_baseline, slices_at)

    def _slices(self, path: Path, targets: Tensor, places: np.ndarray) -> Slices:
        """The integrands at some places of a path: (t, B, K, u, v)."""
        made = self._network.forward(path.points(places), pixels=self._pixels)
        there = self._at_input(made, targets.repeat(len(places), 1))
        slices = self._integrands(self._on(path, there, len(places)))
        return {name: values.unflatten(0, (len(places), -1)) for name, values in slices.items()}

    def _on(self, path: Path, evaluation: Evaluation, times: int) -> Evaluation:
        """An evaluation at `times` places of a path, with what is known of the path."""
        displacement = (path.images - path.start).repeat(times, 1, 1, 1) if self._pixels else None
        baseline = path.activations
        if baseline is not None and len(baseline) > 1:
            baseline = baseline.repeat(times, 1, 1, 1)
        return replace(evaluation, baseline=baseline, displacement=displacement)

    def _integrands(self, evaluation: Evaluation) -> Slices:
        return {name: method.integrand(evaluation) for name, method in self._paths.items()}

    def _path(self, number: int, images: Tensor) -> Path:
        """The path from a baseline; the activations of one that is the same for all images are computed once."""
        baseline = self._baselines[number]
        start = self._network.laid_out(baseline_images(baseline, images))
        if not any(method.zero_at_baseline for method in self._paths.values()):
            return Path(images, start, None)  # no method takes activations above the baseline's
        if callable(baseline):
            return Path(images, start, self._network.activations(start))
        if number not in self._activations_of_constants:
            self._activations_of_constants[number] = self._network.activations(start)
        return Path(images, start, self._activations_of_constants[number])

    def _over_noise(self, method: OverNoise, prediction: Prediction, targets: Tensor) -> Tensor:
        """Means of g, g² and g³ over noisy copies. Every image meets the same noise, whatever batch it is in."""
        images = prediction.images
        noise = self._noise(method.copies, images)
        spread = method.spread * (images.flatten(1).amax(1) - images.flatten(1).amin(1))
        moments: list[Tensor] = []
        for some in noise.split(max(1, self.batch_size // len(images))):
            copies = (images + spread.view(-1, 1, 1, 1) * some).flatten(0, 1)
            made = self._network.forward(copies)
            gradients = self._network.gradients(made, targets.repeat(len(some), 1))[0].float()
            powers = [(gradients**power).unflatten(0, (len(some), -1)).sum(0) / method.copies for power in (1, 2, 3)]
            moments = [total + power for total, power in zip(moments, powers, strict=True)] if moments else powers
        first, second, third = moments
        return method.cam(prediction.made.activations.detach(), first, second, third)

    def _noise(self, copies: int, images: Tensor) -> Tensor:
        """(copies, 1, 3, H, W), drawn once."""
        key = (copies, *images.shape[1:])
        if key not in self._noises:
            generator = torch.Generator().manual_seed(_NOISE_SEED)
            drawn = torch.randn(copies, 1, *images.shape[1:], generator=generator, device="cpu")
            self._noises[key] = drawn.to(images)
        return self._noises[key]

    def _by_perturbation(self, method: ByPerturbation, prediction: Prediction, targets: Tensor) -> Tensor:
        activations = prediction.made.activations.detach()
        perturbed = Perturbed(
            network=self._network,
            images=prediction.images,
            baselines=baseline_images(self._baselines[0], prediction.images).expand_as(prediction.images),
            activations=activations,
            logits=prediction.logits,
            targets=targets,
            batch_size=self.batch_size,
        )
        return combine(activations, method.weights(perturbed))


def _mean(slices: Sequence[Slices]) -> Slices:
    """The mean of several baselines' integrands."""
    if len(slices) == 1:
        return slices[0]
    return {name: torch.stack([of_one[name] for of_one in slices]).mean(0) for name in slices[0]}


def _settled(explanation: Explanation, logits: Tensor, targets: Tensor) -> Explanation:
    """Zero where there is no target, NaN where the logits say nothing."""
    absent, unknown = targets == NO_TARGET, ~logits.isfinite().all(1)
    maps = explanation.maps.masked_fill(absent[..., None, None], 0.0)
    return Explanation(maps.masked_fill(unknown[:, None, None, None], torch.nan), explanation.nodes, explanation.error)
