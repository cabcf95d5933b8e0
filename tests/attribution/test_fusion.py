"""Batch norms folded into the convolutions before them: the same function, or nothing."""

import copy
import warnings
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from igcam_batch import explain
from igcam_batch.attribution.fusion import fold_batch_norms

PROBE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(51))


def lively(model: nn.Module) -> nn.Module:
    """Statistics and weights of every batch norm as training might leave them."""
    generator = torch.Generator().manual_seed(52)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.copy_(0.1 * torch.randn(norm.num_features, generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=generator))
            norm.weight.data.copy_(0.5 + torch.rand(norm.num_features, generator=generator))
            norm.bias.data.copy_(0.1 * torch.randn(norm.num_features, generator=generator))
    return model.eval().requires_grad_(False)


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


MODELS = {
    "resnet18": (lambda: models.resnet18(weights=None), "layer4", 20),
    "densenet121": (lambda: models.densenet121(weights=None), "features", 59),  # the others follow a concatenation
    "shufflenet": (lambda: models.shufflenet_v2_x0_5(weights=None), "conv5", 56),
    "timm, norm and activation in one": (lambda: timm.create_model("efficientnet_lite0"), "bn2", 49),
    "timm, same padding": (lambda: timm.create_model("tf_efficientnet_lite0"), "bn2", 49),
}


@pytest.mark.parametrize("name", MODELS)
def test_maps_and_names_stay_what_they_were(name: str) -> None:
    torch.manual_seed(53)
    build, layer, foldable = MODELS[name]
    model = lively(build())
    folded = copy.deepcopy(model)
    before = norms(model)
    assert fold_batch_norms(folded, layer, PROBE) == foldable
    assert norms(folded) == before - foldable
    assert {name for name, _ in model.named_modules()} == {name for name, _ in folded.named_modules()}
    targets = model(PROBE).topk(3).indices
    expected = explain(model, PROBE, targets, layer, steps=3)
    assert expected.max() > 0
    found = explain(folded, PROBE, targets, layer, steps=3)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=5e-3 * float(expected.max()))


class Tapped(nn.Module):
    """A convolution whose output is taken twice: by a norm, and as it is."""

    def __init__(self, convolution: type[nn.Conv2d] = nn.Conv2d, tapped: bool = True) -> None:
        super().__init__()
        torch.manual_seed(54)
        self.convolution, self.norm = convolution(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)
        self.tapped = tapped

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        y = self.norm(x)
        return self.head((y + x if self.tapped else y).relu().mean((2, 3)))


class Standardised(nn.Conv2d):
    """Its weights are standardised whenever it runs, so that nothing can be folded into them."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


@pytest.mark.parametrize("model", [Tapped(), Tapped(Standardised, tapped=False)], ids=["tapped", "standardised"])
def test_where_folding_would_change_the_network_it_is_put_back(model: nn.Module) -> None:
    model = lively(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    logits = model(PROBE)
    assert fold_batch_norms(model, "norm", PROBE) == 0
    assert norms(model) == 1
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(PROBE), logits, rtol=0, atol=0)


def test_the_convolution_that_is_explained_keeps_its_own_output() -> None:
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(15376, 2)))
    kept = model[0](PROBE)
    assert fold_batch_norms(model, "0", PROBE) == 0
    torch.testing.assert_close(model[0](PROBE), kept, rtol=0, atol=0)
    assert fold_batch_norms(model, "1", PROBE) == 1


@pytest.mark.parametrize("wrapped", [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm])
def test_weights_that_are_computed_from_others_are_left_alone(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    model = Tapped(tapped=False)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that the one way makes way for the other
        wrapped(model.convolution)
    model = lively(model)
    logits = model(PROBE)
    assert fold_batch_norms(model, "norm", PROBE) == 0
    torch.testing.assert_close(model(PROBE), logits, rtol=0, atol=0)


def test_the_map_that_a_part_of_a_norm_takes_can_be_explained() -> None:
    torch.manual_seed(55)
    model = lively(timm.create_model("efficientnet_lite0"))
    expected = explain(model, PROBE, [3], "bn2.drop:input", steps=2)
    folded = copy.deepcopy(model)
    fold_batch_norms(folded, "bn2.drop:input", PROBE)
    torch.testing.assert_close(explain(folded, PROBE, [3], "bn2.drop:input", steps=2), expected, rtol=1e-2, atol=1e-4)
