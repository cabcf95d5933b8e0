"""The attribution methods, each one composition: where the network is evaluated, and what is made of it there."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from igcam_batch.attribution import cams
from igcam_batch.attribution.evaluation import Evaluation
from igcam_batch.attribution.perturbation import Perturbed, ablation_weights, score_weights
from igcam_batch.names import MethodName

MapFunction = Callable[[Evaluation], Tensor]


@dataclass(frozen=True)
class AtInput:
    """A map made of the prediction's own forward pass.

    Attributes:
        cam: evaluation of B images for K targets each -> (B, K, u, v).
    """

    cam: MapFunction


@dataclass(frozen=True)
class AlongPath:
    """A map integrated along the path from a baseline to the input.

    Attributes:
        integrand: evaluation of n points for K targets each -> (n, K, u, v), or (n, K, H, W) of a method by pixels.
        zero_at_baseline: the integrand is 0 at α = 0, which therefore need not be evaluated.
        mirrored: take the rule from the path's other end: for Riemann, the left sum.
        pixels: the integrand is made of gradients at the input, through the whole network.
    """

    integrand: MapFunction
    zero_at_baseline: bool = False
    mirrored: bool = False
    pixels: bool = False


@dataclass(frozen=True)
class OverNoise:
    """A map made of the activations and the mean powers g, g², g³ of gradients over noisy copies of the input.

    Attributes:
        cam: activations (B, N, u, v) and three times (B, K, N, u, v) -> (B, K, u, v).
        copies: how many.
        spread: standard deviation of the noise as a share of the image's range, max - min (Smilkov et al. 2017).
    """

    cam: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    copies: int = 8
    spread: float = 0.1


@dataclass(frozen=True)
class ByPerturbation:
    """A combination of the activations, weighted by how the score answers to each channel; no gradients.

    Attributes:
        weights: a prediction that can be perturbed -> (B, K, N).
    """

    weights: Callable[[Perturbed], Tensor]


Method = AtInput | AlongPath | OverNoise | ByPerturbation

METHODS: dict[MethodName, Method] = {
    "integrated-grad-cam": AlongPath(
        lambda at: cams.summed_grad_cam(at.activations_above_baseline, at.gradients), zero_at_baseline=True
    ),
    "grad-cam": AtInput(lambda at: cams.grad_cam(at.activations, at.gradients)),
    "grad-cam++": AtInput(lambda at: cams.grad_cam_plus_plus(at.activations, at.gradients)),
    "xgrad-cam": AtInput(lambda at: cams.xgrad_cam(at.activations, at.gradients)),
    "smooth-grad-cam++": OverNoise(cams.smooth_grad_cam_plus_plus),
    "score-cam": ByPerturbation(score_weights),
    "ablation-cam": ByPerturbation(ablation_weights),
    "cam": AtInput(lambda at: cams.combine(at.activations, at.weights_of_classes)),
    "layer-cam": AtInput(lambda at: cams.layer_cam(at.activations, at.gradients)),
    "averaged-grad-cam": AlongPath(lambda at: cams.grad_cam(at.activations, at.gradients), mirrored=True),
    "integrated-gradients": AlongPath(lambda at: at.input_gradients_times_displacement, pixels=True),
}
