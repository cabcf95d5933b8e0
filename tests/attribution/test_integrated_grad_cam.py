"""Integrated Grad-CAM against independent truths: a closed form, and the paper's equation looped one step at a time."""

import pytest
import torch
from naive import looped
from networks import torchvision_model
from torch import nn

from igcam_batch import explain

FEWEST_NODES = {"riemann": 1, "trapezoid": 2, "gauss-legendre": 1, "gauss-lobatto": 2}


def homogeneous_cnn() -> nn.Module:
    """No biases, pooling, a linear head: A(αx) = α A(x), and the gradient at the layer is the same along the path."""
    torch.manual_seed(1)
    trunk = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, bias=False), nn.ReLU(), nn.Conv2d(6, 10, 3, bias=False), nn.ReLU()
    )
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 7, bias=False))


@pytest.mark.parametrize(("rule", "steps"), [(rule, m) for rule, least in FEWEST_NODES.items() for m in (least, 5, 50)])
def test_a_homogeneous_network_has_a_closed_form(rule: str, steps: int) -> None:
    model = homogeneous_cnn()
    images = torch.randn(3, 3, 20, 24)
    targets = torch.tensor([[0, 6], [3, 2], [5, 5]])
    with torch.no_grad():
        activations = model[0](images)
    weights = model[3].weight.detach()[targets]  # y_c = Σ_k w_ck mean_ij A_k, so Σ_ij ∂y_c/∂A_k = w_ck
    slope = torch.einsum("bkn,bnuv->bkuv", weights, activations).relu()
    integral = (steps + 1) / (2 * steps) if rule == "riemann" else 0.5  # of α over [0, 1]
    found = explain(model, images, targets, layer="0", steps=steps, rule=rule)
    torch.testing.assert_close(found, integral * slope, rtol=1e-4, atol=1e-6)
    assert slope.max() > 0


SCORES = {
    ("logit", "softmax"): lambda logits: logits,
    ("probability", "softmax"): lambda logits: logits.softmax(1),
    ("probability", "sigmoid"): lambda logits: logits.sigmoid(),
}


@pytest.mark.parametrize(("score", "confidence"), SCORES)
@pytest.mark.parametrize(("name", "layer", "steps"), [("vgg11", "features.19", 3), ("resnet18", "layer4", 6)])
def test_it_equals_the_paper_s_equation_looped_step_by_step(
    name: str, layer: str, steps: int, score: str, confidence: str
) -> None:
    model = torchvision_model(name, head_scale=10.0)  # so that probabilities are not all alike
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    baseline = torch.full((3, 64, 64), -2.0)
    targets = torch.tensor([[3, 900], [17, 3]])
    found = explain(
        model, images, targets, steps=steps, score=score, confidence=confidence, baseline=baseline, batch_size=5
    )
    module, scored = model.get_submodule(layer), SCORES[score, confidence]
    for b in range(2):
        for k in range(2):
            expected = looped(model, module, images[b], int(targets[b, k]), baseline, steps, scored)
            assert expected.max() > 0
            torch.testing.assert_close(found[b, k], expected, rtol=1e-4, atol=2e-5 * float(expected.max()))


def test_more_nodes_approach_the_integral() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(800, 9), nn.Tanh()
    )
    images, targets = 3 * torch.randn(1, 3, 16, 16), torch.tensor([5])
    exact = explain(model, images, targets, "3", steps=100, rule="gauss-legendre")
    errors = [
        float((explain(model, images, targets, "3", steps=steps, rule="trapezoid") - exact).norm() / exact.norm())
        for steps in (3, 9, 33)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02
