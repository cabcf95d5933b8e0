"""Grad-CAM and Grad-CAM++ against pytorch-grad-cam, and against their formulas position by position."""

import numpy as np
import pytest
import torch
from networks import torchvision_model
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from igcam_batch import explain
from igcam_batch.attribution.cams import grad_cam, grad_cam_plus_plus, summed_grad_cam

PEERS = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus}


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer4"), ("vgg11", "features.19")])
def test_maps_equal_the_peer_s(name: str, layer: str, method: str) -> None:
    model = torchvision_model(name, head_scale=1e4)  # the peer adds 1e-6 to Grad-CAM++'s denominator, and we nothing
    images, targets = seeded(6, 3, 3, 64, 64), [1, 500, 999]
    ours = explain(model, images, torch.tensor(targets), layer, method=method)
    with PEERS[method](model=model, target_layers=[model.get_submodule(layer)]) as peer:
        peer(
            input_tensor=images.clone().requires_grad_(), targets=[ClassifierOutputTarget(target) for target in targets]
        )
        activations = peer.activations_and_grads.activations[0].numpy()
        gradients = peer.activations_and_grads.gradients[0].numpy()
        theirs = peer.get_cam_image(
            images, model.get_submodule(layer), targets, activations, gradients, eigen_smooth=False
        )
    theirs = np.maximum(theirs, 0)  # the peer's ReLU comes after this step
    assert theirs.max() > 0
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-4 * theirs.max())


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    activations = torch.rand(2, 3, 4, 5, generator=generator)
    return activations, torch.randn(2, 3, 4, 5, generator=generator)


def test_grad_cam_is_its_formula() -> None:
    activations, gradients = random_pair()
    found = grad_cam(activations, gradients[:, None])[:, 0]
    for b, i, j in np.ndindex(2, 4, 5):
        value = sum(float(gradients[b, k].mean()) * float(activations[b, k, i, j]) for k in range(3))
        assert found[b, i, j] == pytest.approx(max(0.0, value), rel=1e-4, abs=1e-6)


def test_grad_cam_plus_plus_is_its_formula() -> None:
    activations, gradients = random_pair()
    found = grad_cam_plus_plus(activations, gradients[:, None])[:, 0]
    for b in range(2):
        weights = []
        for k in range(3):
            total = float(activations[b, k].sum())
            terms = []
            for g in gradients[b, k].flatten().tolist():
                alpha = g**2 / (2 * g**2 + total * g**3)
                terms.append(alpha * max(0.0, g))
            weights.append(sum(terms))
        expected = sum(weights[k] * activations[b, k] for k in range(3)).relu()
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_plus_plus_survives_gradients_whose_square_underflows() -> None:
    activations, gradients = random_pair()
    tiny = grad_cam_plus_plus(activations, gradients[:, None] * 1e-25)[:, 0]
    expected = torch.einsum("bn,bnuv->buv", (gradients.relu() * 0.5).sum((2, 3)), activations)
    torch.testing.assert_close(tiny * 1e25, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cam", [grad_cam, grad_cam_plus_plus, summed_grad_cam])
def test_a_map_is_float32_and_never_negative_whatever_comes_in(cam) -> None:
    activations, gradients = random_pair()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        found = cam(activations.to(dtype) - 0.5, gradients[:, None].to(dtype))
        assert found.dtype == torch.float32
        assert found.shape == (2, 1, 4, 5)
        assert found.min() >= 0
    assert cam(activations, torch.zeros_like(gradients)[:, None]).abs().max() == 0
