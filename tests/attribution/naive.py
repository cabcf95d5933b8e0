"""Class activation maps as their papers print them: one image and one step at a time, plain hooks, full autograd."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def looped(
    model: nn.Module,
    layer: nn.Module,
    image: Tensor,
    target: int,
    baseline: Tensor,
    steps: int,
    score: Callable[[Tensor], Tensor],
) -> Tensor:
    """Eq. (6) of Integrated Grad-CAM: (3, H, W) -> (u, v)."""
    origin, _ = activations_and_gradients(model, layer, baseline, target, score)
    total = torch.zeros_like(origin[0])
    for t in range(1, steps + 1):
        point = baseline + t / steps * (image - baseline)
        activations, gradients = activations_and_gradients(model, layer, point, target, score)
        weights = gradients.sum((1, 2))  # Σ_ij ∂y_c/∂A_k
        total += torch.relu((weights[:, None, None] * (activations - origin)).sum(0)) / steps
    return total


def looped_grad_cam(
    model: nn.Module, layer: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]
) -> Tensor:
    """Eq. (1) and (2) of Grad-CAM: (3, H, W) -> (u, v)."""
    activations, gradients = activations_and_gradients(model, layer, image, target, score)
    return torch.relu((gradients.mean((1, 2))[:, None, None] * activations).sum(0))


def activations_and_gradients(
    model: nn.Module, layer: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """A and ∂y_c/∂A of one image, (N, u, v) both, by a backward pass that goes on to the pixels."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # what follows in place shall not reach what is kept

    handle = layer.register_forward_hook(keep)
    score(model(image[None].clone().requires_grad_()))[0, target].backward()
    handle.remove()
    (activations,) = kept
    assert activations.grad is not None
    return activations.detach()[0], activations.grad[0]
