"""Class activation maps as pure functions of activations and gradients.

Every function takes `activations` (B, N, u, v), a layer's N feature maps, and `gradients` (B, N, u, v), ∂y_c/∂A at the
same place, and gives (B, u, v) float32, non-negative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from igcam_batch.names import MethodName

Cam = Callable[[Tensor, Tensor], Tensor]


def combine(activations: Tensor, weights: Tensor) -> Tensor:
    """ReLU(Σ_k weights_k · A_k): (B, N, u, v), (B, N) -> (B, u, v) float32."""
    return torch.einsum("bn,bnuv->buv", weights, activations.float()).relu()


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM: ReLU(Σ_k mean_ij(∂y_c/∂A_k) A_k). Selvaraju et al., ICCV 2017, eq. 1 and 2."""
    return combine(activations, gradients.float().mean((-2, -1)))


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++: weights Σ_ij α_ij ReLU(g_ij), α_ij = g² / (2g² + Σ_ab A_ab · g³). Chattopadhyay et al., 2018, eq. 19.

    Wherever the weight is not zero anyway, g is positive and the fraction reduces to 1 / (2 + g Σ_ab A_ab), which
    neither underflows for small gradients nor needs an ε. The paper's common factor exp(y_c) only scales the map and
    is left out, as in every public implementation.
    """
    activations, positive = activations.float(), gradients.float().relu()
    denominator = 2 + positive * activations.sum((-2, -1), keepdim=True)
    alpha = torch.where(denominator == 0, 0.0, 1 / denominator)
    return combine(activations, (alpha * positive).sum((-2, -1)))


def summed_grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The integrand of Integrated Grad-CAM: ReLU(Σ_k (Σ_ij ∂y_c/∂A_k) · A_k), A being relative to the baseline's.

    Sattarzadeh et al., ICASSP 2021, eq. 4 and 6: gradients are summed, not averaged, over positions.
    """
    return combine(activations, gradients.float().sum((-2, -1)))


@dataclass(frozen=True)
class Method:
    """A class activation map, and where it is evaluated.

    Attributes:
        cam: the map at one point of the input space.
        integrated: whether it is integrated along the path from the baseline to the input, or taken at the input.
        relative: whether its activations are those above the baseline's, A - A(x').
    """

    cam: Cam
    integrated: bool = False
    relative: bool = False


METHODS: dict[MethodName, Method] = {
    "integrated-grad-cam": Method(summed_grad_cam, integrated=True, relative=True),
    "grad-cam": Method(grad_cam),
    "grad-cam++": Method(grad_cam_plus_plus),
}
