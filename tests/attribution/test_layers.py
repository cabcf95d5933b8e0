"""Which layer is explained when none is named: the last convolution's, after norm and activation, before pooling."""

import pytest
import timm
import torch
from families import FAMILIES, untrained
from torch import Tensor, nn
from torchvision import models

from igcam_batch import explain
from igcam_batch.attribution.layers import choose_layer, explainable_layers
from igcam_batch.attribution.split import LayerError


@pytest.mark.parametrize("name", FAMILIES)
def test_the_default_layer_of_every_family(name: str) -> None:
    side = 299 if name == "inception_v3" else 224
    layer = choose_layer(untrained(name), torch.zeros(1, 3, side, side), None)
    assert layer.name == FAMILIES[name].layer
    assert layer.default


def test_layers_are_listed_in_running_order_with_their_shapes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    layers = explainable_layers(model, torch.zeros(1, 3, 8, 8))
    assert [(layer.name, layer.kind, layer.shape, layer.default) for layer in layers] == [
        ("0", "Conv2d", (4, 6, 6), False),
        ("1", "ReLU", (4, 6, 6), True),
        ("2", "MaxPool2d", (4, 3, 3), False),
    ]


TRANSFORMERS = {
    "vit_b_16": lambda: models.vit_b_16(weights=None),
    "swin_t": lambda: models.swin_t(weights=None),
    "swin_v2_t": lambda: models.swin_v2_t(weights=None),
    "cait": lambda: timm.create_model("cait_xxs24_224"),
    "mlp mixer": lambda: timm.create_model("mixer_s32_224"),
    "a convolutional stem and a transformer": lambda: timm.create_model("vit_tiny_r_s16_p8_224"),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_is_told_that_it_has_none(name: str) -> None:
    model, inputs = TRANSFORMERS[name](), torch.zeros(1, 3, 224, 224)
    with pytest.raises(LayerError, match=r"is a transformer, or mixes patches as one does: .*its last spatial map"):
        choose_layer(model, inputs, None)
    layers = explainable_layers(model, inputs)
    assert layers
    assert not any(layer.default for layer in layers)
    assert choose_layer(model, inputs, layers[0].name) == layers[0]  # named, it is what the user wants


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("swin_t", ["features.0", "features.1.0.attn", "features.7", "norm"]),
        ("timm:mambaout_femto", ["stages.3.blocks.2.act", "stages.3.blocks.2", "stages"]),
    ],
)
def test_activations_whose_channels_come_last_are_no_map(name: str, refused: list[str]) -> None:
    model, inputs = untrained(name), torch.zeros(1, 3, 224, 224)
    assert not {layer.name for layer in explainable_layers(model, inputs)} & set(refused)
    for layer in refused:
        with pytest.raises(LayerError, match=f"--layer {layer}: gives no spatial map"):
            choose_layer(model, inputs, layer)


def test_a_linear_layer_along_a_map_s_width_leaves_it_a_map() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(6, 6), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    assert choose_layer(model, torch.zeros(1, 3, 8, 8), None).name == "2"


class Cbam(nn.Module):
    """Channel and spatial attention, Woo et al. 2018, around nothing."""

    class ChannelAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            return x * self.layers(x.mean((2, 3)))[:, :, None, None]

    class SpatialAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(2, 1, 7, padding=3)

        def forward(self, x: Tensor) -> Tensor:
            pair = torch.stack((x.mean(1), x.amax(1)), 1)
            return x * self.convolution(pair).sigmoid()

    def __init__(self) -> None:
        super().__init__()
        self.channel, self.spatial = self.ChannelAttention(), self.SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.channel(x))


class AttentionPool(nn.Module):
    """Pooling by a query's attention to every position, as CLIP's ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2).transpose(1, 2)
        return self.attention(positions.mean(1, keepdim=True), positions, positions)[0].squeeze(1)


def test_a_cnn_with_attention_in_it_is_no_transformer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Cbam(), AttentionPool(), nn.Linear(8, 2))
    assert choose_layer(model, torch.zeros(1, 3, 12, 12), None).name == "2"


def test_a_last_convolution_that_runs_twice_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.shared, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.shared(self.shared(self.stem(x))).mean((2, 3)))

    inputs = torch.zeros(1, 3, 8, 8)
    with pytest.raises(LayerError, match="Twice runs shared, its last convolution, more than once"):
        choose_layer(Twice(), inputs, None)
    with pytest.raises(LayerError, match=r"--layer shared: .*runs other than once.*last feature map is stem"):
        choose_layer(Twice(), inputs, "shared")
    assert choose_layer(Twice(), inputs, "stem").shape == (4, 6, 6)


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


class Inline(nn.Module):
    """Branches that are joined, and a last activation that is applied, by functions and not by modules."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(61)
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8 if how == "side by side" else 4, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        match self.how:
            case "side by side":
                y = torch.cat((self.left(x), self.right(x)), 1)
            case "sum":
                y = self.left(x) + self.right(x)
            case _:
                y = torch.relu(self.left(x))
        return self.head(self.pool(y).flatten(1))


@pytest.mark.parametrize("how", ["side by side", "sum", "activation"])
def test_what_functions_make_between_modules_is_explained_as_the_input_of_the_next(how: str) -> None:
    model, images = Inline(how).eval(), torch.randn(2, 3, 10, 10)
    chosen = choose_layer(model, images, None)
    assert (chosen.name, chosen.shape) == ("pool:input", (8 if how == "side by side" else 4, 8, 8))
    targets = torch.tensor([[0, 2], [1, 0]])
    found = explain(model, images, targets, method="cam")
    with torch.no_grad():
        joined = {
            "side by side": lambda: torch.cat((model.left(images), model.right(images)), 1),
            "sum": lambda: model.left(images) + model.right(images),
            "activation": lambda: model.left(images).relu(),
        }[how]()
        expected = torch.einsum("bkn,bnuv->bkuv", model.head.weight[targets], joined).relu()
    assert expected.max() > 0
    torch.testing.assert_close(found, expected)


def test_only_maps_that_no_module_gives_are_listed_as_inputs() -> None:
    layers = explainable_layers(models.resnet18(weights=None), torch.zeros(1, 3, 64, 64))
    assert [layer.name for layer in layers if layer.name.endswith(":input")] == []
    names = [layer.name for layer in explainable_layers(Inline("sum"), torch.zeros(1, 3, 10, 10))]
    assert names == ["left", "right", "pool:input"]
