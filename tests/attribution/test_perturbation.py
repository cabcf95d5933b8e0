"""The head on activations other than the image's own."""

import pytest
import torch
from torch import Tensor, nn

from igcam_batch import InputError, explain
from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.split import Split
from igcam_batch.names import MethodName

IMAGE = torch.randn(1, 3, 10, 10, generator=torch.Generator().manual_seed(41))


class Joined(nn.Module):
    """A skip connection from the trunk joins the layer's output, by a sum or side by side."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(42)
        self.stem, self.layer = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 if how == "sum" else 8, 3)
        self.how = how
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        x = self.stem(x)
        y = self.layer(x)
        joined = x + y if self.how == "sum" else torch.cat((x, y), 1)
        return self.head(joined.relu().mean((2, 3)))


def test_the_trunk_runs_once_for_many_activations_unless_something_goes_around_the_layer() -> None:
    for how, passes in (("sum", 1), ("side by side", 5)):
        model = Joined(how).eval()
        with frozen(model):
            split = Split(model, "layer")
            activations, logits = split(IMAGE, "none")
            many = torch.cat([activations * scale for scale in (1.0, 0.0, 2.0, -1.0, 0.5)])
            head = split.on(IMAGE)
            model.batches.clear()
            found = head(many)
        assert model.batches == [passes]
        torch.testing.assert_close(found[:1], logits)
        skip = model.stem(IMAGE)
        for row, of_row in zip(found, many, strict=True):
            joined = skip + of_row if how == "sum" else torch.cat((skip, of_row[None]), 1)
            torch.testing.assert_close(row, model.head(joined.relu().mean((2, 3)))[0])


def test_ablation_goes_around_nothing_that_goes_around_the_layer() -> None:
    model = Joined("side by side").eval()
    found = explain(model, IMAGE, torch.tensor([1]), "layer", method="ablation-cam", batch_size=3)
    with torch.no_grad():
        skip, activations = model.stem(IMAGE), model.layer(model.stem(IMAGE))
        whole = model(IMAGE)[0, 1]
        weights = []
        for k in range(4):
            without = activations.clone()
            without[:, k] = 0
            score = model.head(torch.cat((skip, without), 1).relu().mean((2, 3)))[0, 1]
            weights.append((whole - score) / whole.abs())
    expected = torch.einsum("n,nuv->uv", torch.stack(weights), activations[0]).relu()
    assert expected.max() > 0
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-6)


def test_a_channel_that_is_zero_is_not_asked_about() -> None:
    torch.manual_seed(43)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 3)).eval()
    with torch.no_grad():
        model[0].bias[:4] = -100.0
    seen = []
    model[0].register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    explain(model, IMAGE, torch.tensor([1]), "1", method="score-cam", batch_size=64)
    assert seen[-1] == 2  # of six channels; the four that mask everything share one pass of the baseline


class Deep(nn.Module):
    """A trunk with a skip connection and functions between its modules, and a head that is no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(44)
        self.stem, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.block, self.relu = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Sequential(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3))
        self.convolved = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.block(x)
        y += x
        return self.head(self.pool(torch.relu_(y)).flatten(1))


@pytest.mark.parametrize("layer", ["stem", "relu", "block", "pool:input", "pool"])
def test_the_trunk_is_not_computed_again_for_any_channel(layer: str) -> None:
    model = Deep().eval()
    computed: list[int] = []
    convolve = nn.Conv2d._conv_forward

    def counted(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        computed.append(len(x))
        return convolve(module, x, weight, bias)

    with frozen(model):
        split = Split(model, layer)
        activations, logits = split(IMAGE, "none")
        head = split.on(IMAGE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.Conv2d, "_conv_forward", counted)
            found = head(torch.cat([activations, 2 * activations, 0 * activations]))
            again = head(activations)
    torch.testing.assert_close(found[:1], logits)
    torch.testing.assert_close(again, logits)
    assert (found[1] - found[0]).abs().max() > 1e-4
    after = {"stem": 1, "relu": 1}.get(layer, 0)  # convolutions that belong to the head
    assert len(computed) == 2 * after
    assert "forward" not in vars(model.stem)


def test_score_cam_scales_masks_of_activations_below_zero_too() -> None:
    torch.manual_seed(45)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(256, 3)).eval()
    found = explain(model, IMAGE, torch.tensor([1]), "0", method="score-cam")
    with torch.no_grad():
        activations = model[0](IMAGE)[0]
        assert activations.min() < 0
        scores = []
        for channel in activations:
            mask = torch.nn.functional.interpolate(channel[None, None], (10, 10), mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            scores.append(model(IMAGE * mask)[0, 1])
        expected = torch.einsum("n,nuv->uv", torch.stack(scores).softmax(0), activations).relu()
    torch.testing.assert_close(found[0], expected)


class ScriptedHead(nn.Module):
    """An ordinary trunk and a head in TorchScript, as a user exports a part of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.head = torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("method", ["integrated-grad-cam", "ablation-cam"])
def test_a_part_in_torchscript_is_no_hindrance_and_cannot_be_the_layer(method: MethodName) -> None:
    torch.manual_seed(0)
    model = ScriptedHead()
    plain = nn.Sequential(model.trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    plain[3].load_state_dict({name[2:]: value for name, value in model.head.state_dict().items()})
    images, targets = torch.randn(2, 3, 12, 12), torch.tensor([1, 2])
    expected = explain(plain, images, targets, "0", method, 4)
    torch.testing.assert_close(explain(model, images, targets, "trunk", method, 4), expected)
    torch.testing.assert_close(explain(model, images, targets, None, method, 4), expected)
    with pytest.raises(InputError, match="--layer head: is TorchScript"):
        explain(model, images, targets, "head", method, 4)
