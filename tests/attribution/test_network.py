"""Gradients of heads: in closed form, batched over targets, and what is left of a pass."""

import copy
import gc
import resource

import pytest
import torch
from networks import torchvision_model
from torch import Tensor, nn

from igcam_batch import explain, names
from igcam_batch.attribution import network as network_module
from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.head import pooled_linear_weights
from igcam_batch.attribution.network import Network
from igcam_batch.attribution.split import Split
from igcam_batch.names import MethodName, PrecisionName, ScoreName

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(31))
TARGETS = torch.tensor([[3, 900, 17, 4, 5], [17, 3, 0, 999, 8], [2, 2, 1, 7, 6]])
CLOSED = {"resnet18": "layer4", "shufflenet_v2_x0_5": "conv5", "mobilenet_v2": "features", "densenet121": "features"}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CLOSED)
def test_pooling_and_a_linear_layer_are_seen_whichever_way_they_are_written(
    name: str, memory_format: torch.memory_format
) -> None:
    model, images = copy.deepcopy(torchvision_model(name)).to(memory_format=memory_format), IMAGES
    activations, logits = Split(model, CLOSED[name])(images.contiguous(memory_format=memory_format))
    found = pooled_linear_weights(activations, logits)
    if name == "densenet121":
        assert found is None  # a ReLU stands between its last map and the pooling
    else:
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        torch.testing.assert_close(found, last.weight)


class Head(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(32)
        self.trunk = nn.Conv2d(3, 4, 5, stride=5)
        self.linear, self.other = nn.Linear(4, 3, bias=kind != "no bias"), nn.Linear(3, 3)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        match self.kind:
            case "linear" | "no bias":
                return self.linear(y.mean((2, 3)))
            case "functional":
                return nn.functional.linear(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1), self.linear.weight)
            case "sum":
                return self.linear(y.sum((2, 3)))
            case "max":
                return self.linear(y.amax((2, 3)))
            case "rows":
                return self.linear(y.mean(2).mean(2))
            case "scaled":
                return 2 * self.linear(y.mean((2, 3)))
            case "two layers":
                return self.other(self.linear(y.mean((2, 3))))
            case "branches":
                return self.linear(y.mean((2, 3))) + self.linear(y.amax((2, 3)))
            case _:
                return self.linear(y.relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "closed"),
    [("linear", True), ("no bias", True), ("functional", True)]
    + [(kind, False) for kind in ("sum", "max", "rows", "scaled", "two layers", "branches", "activation")],
)
def test_any_other_head_is_left_to_autograd(kind: str, closed: bool) -> None:
    model = Head(kind).eval()
    with frozen(model):
        found = pooled_linear_weights(*Split(model, "trunk")(IMAGES))
    assert (found is not None) == closed
    if closed:
        torch.testing.assert_close(found, model.linear.weight)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("method", [method for method in names.METHODS if method != "cam"])
def test_the_closed_form_gives_what_autograd_gives(
    method: MethodName, score: ScoreName, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, targets = Head("linear").eval(), torch.tensor([[0, 2], [1, 0], [2, 1]])
    closed = explain(model, IMAGES, targets, "trunk", method=method, steps=3, score=score)
    monkeypatch.setattr(network_module, "pooled_linear_weights", lambda *_: None)
    by_autograd = explain(model, IMAGES, targets, "trunk", method=method, steps=3, score=score)
    assert closed.max() > 0
    torch.testing.assert_close(closed, by_autograd, rtol=1e-3, atol=1e-4 * float(closed.max()))


@pytest.mark.parametrize(("name", "layer"), [("vgg11", "features.19"), ("googlenet", "inception5a")])
def test_all_targets_go_through_the_head_in_one_call(name: str, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchvision_model(name)
    calls = []
    grad = torch.autograd.grad

    def counted(*arguments: object, **options: object) -> object:
        calls.append(options.get("is_grads_batched", False))
        return grad(*arguments, **options)

    network = Network(model, layer, "logit", "softmax", "fp32")
    network.gradients(network.forward(IMAGES), TARGETS)
    made = network.forward(IMAGES)
    monkeypatch.setattr(torch.autograd, "grad", counted)
    together, _ = network.gradients(made, TARGETS)
    assert calls == [True]
    for k in range(5):
        alone, _ = network.gradients(network.forward(IMAGES), TARGETS[:, k : k + 1])
        torch.testing.assert_close(together[:, k], alone[:, 0], rtol=1e-4, atol=1e-7)


def test_an_operation_that_has_no_batched_backward_pass_goes_one_by_one() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            context.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
            assert gradients[0].abs().sum().item() > 0  # no batch of gradients can be asked for its value
            return 2 * context.saved_tensors[0] * gradients[0]

    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Square.apply(x)

    torch.manual_seed(33)
    model = nn.Sequential(nn.Conv2d(3, 4, 9, stride=9), Odd(), nn.Flatten(), nn.Linear(196, 1000)).eval()
    together = explain(model, IMAGES, TARGETS, "0", steps=3)
    for k in range(5):
        torch.testing.assert_close(together[:, k], explain(model, IMAGES, TARGETS[:, k], "0", steps=3))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_head_known_in_closed_form_costs_no_graph(precision: PrecisionName) -> None:
    model = torchvision_model("resnet18")
    network = Network(model, "layer4", "logit", "softmax", precision)
    network.gradients(network.forward(IMAGES), TARGETS)
    assert network.head is not None
    made = network.forward(IMAGES)
    assert not made.activations.requires_grad
    assert not made.outputs.requires_grad


def test_gradients_at_the_inputs_let_the_graph_go_that_they_used_up() -> None:
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    model = nn.Sequential(*trunk, nn.ReLU(), nn.Flatten(), nn.Linear(6272, 3))
    network = Network(model.eval(), "2", "logit", "softmax", "fp32")
    made = network.forward(torch.rand(2, 3, 32, 32), pixels=True)
    network.gradients(made, torch.tensor([[0, 1], [2, 0]]))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        network.gradients(made, torch.tensor([[0, 1], [2, 0]]))


def test_a_linear_head_whose_weights_change_between_audits_is_read_anew() -> None:
    model = copy.deepcopy(torchvision_model("resnet18"))
    before = explain(model, IMAGES, TARGETS, "layer4", method="cam")
    model.fc.weight.mul_(2)
    torch.testing.assert_close(explain(model, IMAGES, TARGETS, "layer4", method="cam"), 2 * before)


def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    """The leak that users of single-image libraries report: every batch keeps something of its graph."""
    torch.manual_seed(34)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(1568, 1000)).eval()

    def peak_after(batches: int) -> int:
        for _ in range(batches):
            explain(model, IMAGES, TARGETS, "1", steps=2)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

    settled = peak_after(20)
    assert peak_after(180) - settled < 32 * 1024  # the activations of one batch alone are 1.4 MiB
