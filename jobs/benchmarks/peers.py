"""What others would run instead of this engine, each as its users do, on a copy of the model as it was loaded.

That is: parameters that require gradients, batch norms as they are, the memory layout that loading gives.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchcamGradCAM

from igcam_batch.attribution.split import find_layer

GradCam = Callable[[Tensor, Tensor], Tensor]  # images (B, 3, H, W), targets (B,) -> maps (B, ., .)


def as_loaded(model: nn.Module) -> nn.Module:
    """A copy of a model, in eval mode, whose parameters require gradients."""
    return copy.deepcopy(model).eval().requires_grad_(True)


def pytorch_grad_cam(model: nn.Module, layer: str) -> GradCam:
    """pytorch-grad-cam's Grad-CAM: maps at the images' resolution, each scaled to 0..1."""
    own = as_loaded(model)
    cam = GradCAM(model=own, target_layers=[find_layer(own, layer)])

    def maps(images: Tensor, targets: Tensor) -> Tensor:
        wanted = [ClassifierOutputTarget(target) for target in targets.tolist()]
        return torch.from_numpy(cam(input_tensor=images, targets=wanted))

    return maps


def captum_grad_cam(model: nn.Module, layer: str) -> GradCam:
    """Captum's Grad-CAM: maps at the layer's resolution."""
    own = as_loaded(model)
    cam = LayerGradCam(own, find_layer(own, layer))

    def maps(images: Tensor, targets: Tensor) -> Tensor:
        return cam.attribute(images, targets, relu_attributions=True).detach().squeeze(1)  # type: ignore[no-any-return]

    return maps


def torchcam_grad_cam(model: nn.Module, layer: str) -> GradCam:
    """Torchcam's Grad-CAM: maps at the layer's resolution, each scaled to 0..1."""
    own = as_loaded(model)
    cam = TorchcamGradCAM(own, layer)

    def maps(images: Tensor, targets: Tensor) -> Tensor:
        return cam(targets.tolist(), own(images))[0]

    return maps


def looped(grad_cam: GradCam, images: Tensor, targets: Tensor, steps: int) -> Tensor:
    """The mean of a library's Grad-CAM maps along the path from zeros, α = t/m for t = 1..m; a batch of images each."""
    return torch.stack([grad_cam(images * (step / steps), targets) for step in range(1, steps + 1)]).mean(0)


def captum_integrated_gradients(model: nn.Module) -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """Captum's Integrated Gradients by the right Riemann sum: images, targets, steps, batch size -> (B, 3, H, W)."""
    attribution = IntegratedGradients(as_loaded(model))

    def maps(images: Tensor, targets: Tensor, steps: int, batch_size: int) -> Tensor:
        found: Tensor = attribution.attribute(
            images,
            target=targets,
            n_steps=steps,
            method="riemann_right",
            internal_batch_size=max(batch_size, len(images)),
        )
        return found.detach()

    return maps


def authors_algorithm(model: nn.Module, layer: str) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The authors' public notebook: an image's m interpolants as one batch, through the whole network and back.

    α = t/m for t = 0..m-1, mean gradients, no baseline's activations, a sum over steps: m times `averaged-grad-cam`.

    Returns:
        images (B, 3, H, W), targets (B,), m -> maps (B, u, v).
    """
    own = as_loaded(model)

    def maps(images: Tensor, targets: Tensor, steps: int) -> Tensor:
        return torch.stack(
            [_of_one(own, layer, image, int(target), steps) for image, target in zip(images, targets, strict=True)]
        )

    return maps


def _of_one(model: nn.Module, layer: str, image: Tensor, target: int, steps: int) -> Tensor:
    kept: list[Any] = []
    handle = find_layer(model, layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        model.zero_grad()
        alphas = torch.arange(steps, device=image.device).view(-1, 1, 1, 1) / steps
        score = model(alphas * image)[:, target].sum()
        kept[0].retain_grad()
        score.backward()
    finally:
        handle.remove()
    weights = kept[0].grad.mean((2, 3), keepdim=True)
    found: Tensor = (weights * kept[0].detach()).sum(1).relu().sum(0)
    return found
