"""Which layer is explained when none is named: the last convolution's, after norm and activation, before pooling."""

import pytest
import timm
import torch
from families import FAMILIES, untrained
from torch import Tensor, nn
from torchvision import models

from igcam_batch import explain
from igcam_batch.attribution.layer_names import LayerError
from igcam_batch.attribution.layers import choose_layer, explainable_layers


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


class Twice(nn.Module):
    """One convolution and one activation, each run several times, as people write networks by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(62)
        self.stem, self.shared, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.stem(x)))
        y = self.shared(self.relu(self.shared(x)))
        return self.head(self.pool(self.relu(x + y)).mean((2, 3)))


def test_the_runs_of_a_module_that_runs_several_times_are_numbered() -> None:
    inputs = torch.zeros(1, 3, 10, 10)
    layers = explainable_layers(Twice(), inputs)
    assert [layer.name for layer in layers] == [
        *("stem", "relu#1", "pool#1", "shared#1", "relu#2", "shared#2", "relu#3:input", "relu#3", "pool#2")
    ]
    assert [layer.name for layer in layers if layer.default] == ["relu#3"]
    assert choose_layer(Twice(), inputs, "shared#1").shape == (4, 7, 7)
    with pytest.raises(
        LayerError, match=r"--layer shared: runs 2 times in a forward pass, as shared#1 to shared#2; the"
    ):
        choose_layer(Twice(), inputs, "shared")
    with pytest.raises(LayerError, match=r"--layer shared#3: gives no spatial map in a forward pass; the last feature"):
        choose_layer(Twice(), inputs, "shared#3")


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
    names = [layer.name for layer in explainable_layers(Inline("sum"), torch.zeros(1, 3, 10, 10))]
    assert names == ["left", "right", "pool:input"]
    layers = explainable_layers(models.resnet18(weights=None), torch.zeros(1, 3, 64, 64))
    sums = [layer.name for layer in layers if layer.name.endswith(":input")]
    assert sums == [f"layer{stage}.{block}.relu#2:input" for stage in range(1, 5) for block in range(2)]


class Spelled(nn.Module):
    """The same network in spellings that PyTorch allows, and others that look like it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(63)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())
        self.mean, self.most = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(12, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        y = self.second(x)
        match self.how:
            case "a sum":
                y = y + x
            case "a sum in place":
                y += x
            case "a function in place":
                y = y + x
                torch.relu_(y)
            case "a gate":
                y = torch.relu(y)
                y = y * self.gate(y)
            case "read before a module takes it":
                y = torch.relu(y)
                scale = y.mean((2, 3), keepdim=True)
                y = self.gate(y) * scale * y
            case "doubled in place":
                y = y + x
                self.mean(y)
                y *= 2
        return self.head(torch.cat((self.mean(y), self.most(y)), 1).flatten(1))


@pytest.mark.parametrize(
    "how", ["a sum", "a sum in place", "a function in place", "a gate", "read before a module takes it"]
)
@pytest.mark.parametrize("method", ["grad-cam", "integrated-grad-cam"])
def test_every_use_of_a_map_counts_that_functions_made(how: str, method: str) -> None:
    """Against autograd on the same network, cut by hand where `layers` says: at the one tensor all its uses share."""
    model, images = Spelled(how).eval(), torch.randn(2, 3, 9, 9)
    names = [layer.name for layer in explainable_layers(model, images) if layer.name.endswith(":input")]
    assert choose_layer(model, images, None).name in names
    targets = torch.tensor([2, 0])
    for name in names:
        found = explain(model, images, targets, name, method=method, steps=3)
        expected = cut_by_hand(model, name, images, targets, method, 3)
        assert expected.max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def cut_by_hand(model: nn.Module, name: str, images: Tensor, targets: Tensor, method: str, steps: int) -> Tensor:
    """Grad-CAM or Integrated Grad-CAM at the tensor a module takes, all of the network under autograd."""

    def evaluate(inputs: Tensor) -> tuple[Tensor, Tensor]:
        taken: list[Tensor] = []
        module = model.get_submodule(name.removesuffix(":input"))

        def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            arguments[0].retain_grad()
            taken.append(arguments[0])

        with torch.enable_grad():
            handle = module.register_forward_pre_hook(keep)
            values: list[Tensor] = []
            handle_of_value = module.register_forward_pre_hook(lambda _m, a: values.append(a[0].detach().clone()))
            logits = model(inputs.clone().requires_grad_())
            handle.remove()
            handle_of_value.remove()
            gradient = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), taken[0])[0]
        return values[0], gradient

    if method == "grad-cam":
        activations, gradients = evaluate(images)
        return (gradients.mean((2, 3), keepdim=True) * activations).sum(1).relu().detach()
    start, _ = evaluate(torch.zeros_like(images))
    total = torch.zeros(())
    for step in range(1, steps + 1):
        activations, gradients = evaluate(step / steps * images)
        total = total + (gradients.sum((2, 3), keepdim=True) * (activations - start)).sum(1).relu() / steps
    return total.detach()


def test_what_happens_in_place_after_the_cut_leaves_the_map_alone() -> None:
    images, targets = torch.randn(2, 3, 9, 9), torch.tensor([2, 0])
    found = explain(Spelled("doubled in place").eval(), images, targets, "mean#1:input", method="grad-cam")
    plain = explain(Spelled("a sum").eval(), images, targets, "mean:input", method="grad-cam")
    assert plain.max() > 0
    torch.testing.assert_close(found, 2 * plain)  # what follows is doubled, the map is not


def test_a_mask_of_attention_is_not_what_is_explained() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
            self.attention = nn.Sequential(nn.Conv2d(6, 1, 1), nn.Sigmoid())
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x)
            return self.head((x * self.attention(x)).mean((2, 3)))

    assert choose_layer(Masked(), torch.zeros(1, 3, 9, 9), None).name == "features"
