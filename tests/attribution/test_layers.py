"""Which layer is explained when none is named: the last convolution's, after norm and activation, before pooling."""

import pytest
import torch
from torch import nn
from torchvision import models

from igcam_batch.attribution.layers import choose_layer, explainable_layers
from igcam_batch.attribution.split import LayerError

DEFAULTS = {
    "alexnet": "features.11",
    "densenet121": "features",
    "efficientnet_b0": "features",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "mnasnet1_0": "layers",
    "mobilenet_v3_large": "features",
    "regnet_y_400mf": "trunk_output",
    "resnet50": "layer4",
    "shufflenet_v2_x1_0": "conv5",
    "vgg16": "features.29",
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_layer_of_torchvision_s_families(name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    side = 299 if name == "inception_v3" else 224
    layer = choose_layer(models.get_model(name, weights=None, **options), torch.zeros(1, 3, side, side), None)
    assert layer.name == DEFAULTS[name]
    assert layer.default


def test_layers_are_listed_in_running_order_with_their_shapes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    layers = explainable_layers(model, torch.zeros(1, 3, 8, 8))
    assert [(layer.name, layer.kind, layer.shape, layer.default) for layer in layers] == [
        ("0", "Conv2d", (4, 6, 6), False),
        ("1", "ReLU", (4, 6, 6), True),
        ("2", "MaxPool2d", (4, 3, 3), False),
    ]


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "swin_v2_t"])
def test_a_transformer_is_told_that_it_has_none(name: str) -> None:
    model = models.get_model(name, weights=None)
    with pytest.raises(LayerError, match="transformer"):
        choose_layer(model, torch.zeros(1, 3, 224, 224), None)


def test_a_perceptron_is_told_that_it_has_none() -> None:
    with pytest.raises(LayerError, match="no convolution"):
        choose_layer(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.zeros(1, 3, 4, 4), None)


def test_a_named_layer_is_taken_and_an_unknown_one_refused_with_the_default() -> None:
    model = models.resnet18(weights=None)
    inputs = torch.zeros(1, 3, 64, 64)
    assert choose_layer(model, inputs, "layer3.0.conv1").shape == (256, 4, 4)
    with pytest.raises(LayerError, match="--layer layer5: ResNet has no such module; the last feature map is layer4"):
        choose_layer(model, inputs, "layer5")
    with pytest.raises(LayerError, match="--layer fc: gives no spatial map"):
        choose_layer(model, inputs, "fc")
