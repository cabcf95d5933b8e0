"""Class activation maps as pure functions of activations and gradients.

`activations` (B, N, u, v) are a layer's N feature maps, `gradients` (B, K, N, u, v) those of K scores of each image,
∂y_c/∂A at the same place, `weights` (B, K, N); a map is (B, K, u, v) float32, non-negative.
"""

import torch
from torch import Tensor


def combine(activations: Tensor, weights: Tensor) -> Tensor:
    """ReLU(Σ_k weights_k · A_k): (B, N, u, v), (B, K, N) -> (B, K, u, v)."""
    return torch.einsum("bkn,bnuv->bkuv", weights, activations.float()).relu()


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM: ReLU(Σ_k mean_ij(∂y_c/∂A_k) A_k). Selvaraju et al., ICCV 2017, eq. 1 and 2."""
    return combine(activations, gradients.float().mean((-2, -1)))


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++: weights Σ_ij α_ij ReLU(g_ij), α_ij = g² / (2g² + Σ_ab A_ab · g³). Chattopadhyay et al., 2018, eq. 19.

    Wherever the weight is not zero anyway, g is positive and the fraction reduces to 1 / (2 + g Σ_ab A_ab), which
    neither underflows for small gradients nor needs an ε. The paper's common factor exp(y_c) only scales the map and
    is left out, as in every public implementation.
    """
    positive = gradients.float().relu()
    denominator = 2 + positive * _sums(activations)
    alpha = torch.where(denominator == 0, 0.0, 1 / denominator)
    return combine(activations, (alpha * positive).sum((-2, -1)))


def smooth_grad_cam_plus_plus(activations: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Smooth Grad-CAM++: Grad-CAM++ with g, g² and g³ averaged over noisy copies. Omeiza et al. 2019, eq. 9 and 10.

    The paper prints the first derivative in the numerator of α; the second, as in Grad-CAM++ itself and in torchcam,
    is what makes the map Grad-CAM++'s where there is no noise.

    Args:
        activations: (B, N, u, v), of the image without noise.
        first: (B, K, N, u, v), mean of g over the noisy copies.
        second: the same of g².
        third: the same of g³.
    """
    second = second.double()  # g³ and Σ A g³ lie too far apart for float32
    denominator = 2 * second + third.double() * _sums(activations).double()
    alpha = torch.where(denominator == 0, 0.0, second / denominator)
    return combine(activations, (alpha * first.double().relu()).sum((-2, -1)).float())


def xgrad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM: weights Σ_ij g_ij A_ij / Σ_ab A_ab, 0 where that sum is 0. Fu et al., BMVC 2020, eq. 8."""
    weighted = torch.einsum("bknuv,bnuv->bkn", gradients.float(), activations.float())
    sums = _sums(activations)[..., 0, 0]
    return combine(activations, torch.where(sums == 0, 0.0, weighted / sums))


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM: ReLU(Σ_k ReLU(g_k) · A_k), position by position. Jiang et al., TIP 2021, eq. 5 and 6."""
    return torch.einsum("bknuv,bnuv->bkuv", gradients.float().relu(), activations.float()).relu()


def summed_grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The integrand of Integrated Grad-CAM: ReLU(Σ_k (Σ_ij ∂y_c/∂A_k) · A_k), A being relative to the baseline's.

    Sattarzadeh et al., ICASSP 2021, eq. 4 and 6: gradients are summed, not averaged, over positions.
    """
    return combine(activations, gradients.float().sum((-2, -1)))


def _sums(activations: Tensor) -> Tensor:
    """Σ_ab A_ab of every channel: (B, N, u, v) -> (B, 1, N, 1, 1), against gradients of K scores."""
    return activations.float().sum((-2, -1), keepdim=True).unsqueeze(1)
