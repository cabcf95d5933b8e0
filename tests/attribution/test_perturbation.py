"""The head on activations other than the image's own."""

import torch
from torch import Tensor, nn

from igcam_batch import explain
from igcam_batch.attribution.split import Split, frozen

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
            found = split.resume(IMAGE, many)
            model.batches.clear()
            torch.testing.assert_close(split.resume(IMAGE, many), found)
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
