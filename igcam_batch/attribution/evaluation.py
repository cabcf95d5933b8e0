"""What the network says at some points of the input space: activations, and gradients of the targets' scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from igcam_batch.attribution.head import NO_CAM
from igcam_batch.attribution.layer_names import LayerError


@dataclass(frozen=True)
class Evaluation:
    """The network at n inputs, with the gradients of K scores of each.

    Attributes:
        activations: (n, N, u, v).
        gradients: (n, K, N, u, v), ∂y_c/∂A.
        class_weights: (n, K, N), what the head's linear layer weighs each channel's mean by; only where the head is
            mean pooling and one linear layer.
        baseline: activations of the baseline, (1, N, u, v) or (n, N, u, v); only on a path.
        displacement: (n, 3, H, W), x - x'; only on a path.
        input_gradients: (n, K, 3, H, W), ∂y_c/∂x; only where a method wants them.
    """

    activations: Tensor
    gradients: Tensor
    class_weights: Tensor | None = None
    baseline: Tensor | None = None
    displacement: Tensor | None = None
    input_gradients: Tensor | None = None

    @property
    def weights_of_classes(self) -> Tensor:
        """`class_weights`, which CAM combines the activations by. Zhou et al., CVPR 2016, eq. 2."""
        if self.class_weights is None:
            raise LayerError(NO_CAM)
        return self.class_weights

    @property
    def activations_above_baseline(self) -> Tensor:
        """A - A(x'), (n, N, u, v) float32."""
        assert self.baseline is not None
        return self.activations.float() - self.baseline

    @property
    def input_gradients_times_displacement(self) -> Tensor:
        """The integrand of Integrated Gradients, summed over colours. Sundararajan et al., ICML 2017, eq. 1.

        (n, K, H, W) float32, signed.
        """
        assert self.displacement is not None
        assert self.input_gradients is not None
        return torch.einsum("nkchw,nchw->nkhw", self.input_gradients.float(), self.displacement.float())
