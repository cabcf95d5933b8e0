"""The engine: which passes it makes, what it shares between them, and what does not change the result."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from igcam_batch import explain, names
from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.network import NO_TARGET
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.names import MethodName, RuleName

METHODS: tuple[MethodName, ...] = ("integrated-grad-cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam")
EVERY = tuple(
    method for method in names.METHODS if method not in ("cam", "integrated-gradients")
)  # `Trunk` bars pixels


class _NoBackward(torch.autograd.Function):
    """The identity, which no gradient may pass."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_context: Any, *_gradients: Tensor) -> Tensor:
        raise AssertionError("a gradient was computed below the layer")


class Trunk(nn.Module):
    """Remembers the batches it was given, and refuses to be differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, stride=2)
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled(), "the trunk ran with gradients on"
        self.batches.append(len(x))
        return torch.tanh(_NoBackward.apply(self.convolution(x)))


def watched_cnn() -> nn.Sequential:
    torch.manual_seed(6)
    return nn.Sequential(Trunk(), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5)).eval()


def explainer(model: nn.Module, *, rule: RuleName = "riemann", steps: int = 6, **options: Any) -> Explainer:
    defaults: dict[str, Any] = {
        "along": RULES[rule](steps),
        "methods": ["integrated-grad-cam"],
        "score": "logit",
        "confidence": "softmax",
        "baselines": [torch.zeros(3, 12, 12)],
        "batch_size": 4,
    }
    return Explainer(model, "0", **(defaults | options))


IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(7))
TARGETS = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])


@pytest.mark.parametrize(
    ("rule", "steps", "passes"),
    [("riemann", 6, 6), ("trapezoid", 6, 5), ("gauss-lobatto", 5, 4), ("gauss-legendre", 6, 7)],
)
def test_each_node_costs_one_pass_of_the_trunk_and_the_ends_of_a_path_none(rule: str, steps: int, passes: int) -> None:
    model = watched_cnn()
    with frozen(model):
        engine = explainer(model, rule=rule, steps=steps, methods=METHODS)
        engine.explain(engine.predict(IMAGES), TARGETS)
    baseline = [batch for batch in model[0].batches if batch == 1]
    assert len(baseline) == 1
    assert len(model[0].batches) - 1 == passes  # α = 1 is the prediction's own; at α = 0 nothing is above the baseline


def test_methods_and_targets_add_no_pass_and_a_second_batch_no_baseline() -> None:
    def passes(targets: int = 1, **options: Any) -> int:
        model = watched_cnn()
        with frozen(model):
            engine = explainer(model, **options)
            for _ in range(2):
                engine.explain(engine.predict(IMAGES), TARGETS[:, :targets])
        return len(model[0].batches)

    assert passes() == passes(methods=METHODS) == passes(methods=METHODS, targets=2) == 1 + 2 * 6


def test_grad_cam_alone_makes_the_prediction_s_pass_and_no_other() -> None:
    model = watched_cnn()
    with frozen(model):
        engine = explainer(model, methods=["grad-cam", "grad-cam++"])
        engine.explain(engine.predict(IMAGES), TARGETS)
    assert model[0].batches == [4]


def test_images_and_steps_share_a_pass_up_to_the_batch_size() -> None:
    model = watched_cnn()
    explain(model, IMAGES[:1], TARGETS[:1], "0", steps=12, batch_size=5)
    assert model[0].batches == [1, 1, 1, 5, 5, 1]  # the layers, the image, the baseline, and eleven nodes
    model = watched_cnn()
    explain(model, IMAGES[:2], TARGETS[:2], "0", steps=12, batch_size=6)
    assert model[0].batches == [1, 2, 1, 6, 6, 6, 4]


@pytest.mark.parametrize("method", EVERY)
def test_batch_size_batch_neighbours_and_other_targets_change_nothing(method: MethodName) -> None:
    whole = explain(watched_cnn(), IMAGES, TARGETS, "0", method=method, steps=5, batch_size=64)
    assert whole.shape == (4, 2, 5, 5)
    assert whole.max() > 0
    for size in (1, 2, 3, 7):
        torch.testing.assert_close(
            explain(watched_cnn(), IMAGES, TARGETS, "0", method=method, steps=5, batch_size=size), whole
        )
    turned = explain(watched_cnn(), IMAGES.flip(0), TARGETS.flip(0), "0", method=method, steps=5)
    torch.testing.assert_close(turned.flip(0), whole)
    for b in range(4):
        for k in range(2):
            alone = explain(watched_cnn(), IMAGES[b : b + 1], TARGETS[b : b + 1, k], "0", method=method, steps=5)
            torch.testing.assert_close(alone[0], whole[b, k])


def test_an_image_with_fewer_targets_leaves_its_neighbours_alone() -> None:
    model = watched_cnn()
    ragged = TARGETS.clone()
    ragged[1, 1] = ragged[3, 0] = ragged[3, 1] = NO_TARGET
    with frozen(model):
        engine = explainer(model, methods=EVERY)
        whole = engine.explain(engine.predict(IMAGES), TARGETS)
        found = engine.explain(engine.predict(IMAGES), ragged)
    for method in EVERY:
        assert found[method].maps[ragged == NO_TARGET].abs().max() == 0
        torch.testing.assert_close(found[method].maps[ragged != NO_TARGET], whole[method].maps[ragged != NO_TARGET])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    steps=st.integers(2, 9),
    rule=st.sampled_from(["riemann", "trapezoid", "gauss-legendre", "gauss-lobatto"]),
)
def test_a_path_of_no_length_has_a_zero_map(seed: int, steps: int, rule: Any) -> None:
    image = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    found = explain(watched_cnn(), image, torch.tensor([1]), "0", steps=steps, rule=rule, baseline=image[0])
    assert found.abs().max() < 1e-5  # the rounding of batches of another size


def test_an_activation_in_place_after_the_layer_does_not_reach_into_it() -> None:
    inplace, plain = watched_cnn(), watched_cnn()
    plain[1] = nn.ReLU()
    for method in EVERY:
        torch.testing.assert_close(
            explain(inplace, IMAGES, TARGETS, "0", method=method, steps=4),
            explain(plain, IMAGES, TARGETS, "0", method=method, steps=4),
            rtol=0,
            atol=0,
        )


class Branches(nn.Module):
    """A skip connection around the layer, a functional forward, and two ways from it to the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.gate = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.middle(x)
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True))) + x
        return self.head(torch.relu(y).amax((2, 3)))


def test_gradients_equal_full_autograd_through_branches_and_skip_connections() -> None:
    torch.manual_seed(8)
    model = Branches().eval()
    images = torch.randn(2, 3, 9, 9)
    kept: list[Tensor] = []
    handle = model.middle.register_forward_hook(lambda _m, _i, output: kept.append(output))
    scores = model(images)
    (gradients,) = torch.autograd.grad(scores[0, 1] + scores[1, 2], kept[0])
    handle.remove()
    expected = torch.relu((gradients.mean((2, 3), keepdim=True) * kept[0]).sum(1)).detach()
    found = explain(model, images, torch.tensor([1, 2]), "middle", method="grad-cam")
    torch.testing.assert_close(found, expected)
    assert expected.max() > 0


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(torch.randn(2, 3, 9, 9))
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for targets in (torch.tensor([0]), torch.tensor([7])):  # the second is an error, in the middle of it
        try:
            explain(model, torch.randn(1, 3, 9, 9), targets, "2", steps=3)
        except ValueError:
            assert targets[0] == 7
        assert [module.training for module in model] == [True, False, True, True, True]
        assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True, True, True]
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks for module in model.modules())
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("enabled", [True, False])
def test_an_error_in_the_head_leaves_no_hook_and_no_gradient_mode_behind(enabled: bool) -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 1:
                return x  # the pass that finds the layers
            assert torch.is_grad_enabled()
            raise RuntimeError("out of memory")

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Fails()).train()
    with torch.set_grad_enabled(enabled):
        with pytest.raises(RuntimeError, match="out of memory"):
            explain(model, IMAGES, TARGETS, "1", steps=3)
        assert torch.is_grad_enabled() == enabled
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@settings(max_examples=20, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000), method=st.sampled_from(["integrated-grad-cam", "grad-cam"])
)
def test_a_map_keeps_the_scale_of_the_score(scale: float, seed: int, method: MethodName) -> None:
    image = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    model, louder = watched_cnn(), watched_cnn()
    with torch.no_grad():
        louder[-1].weight.mul_(scale)
    found = explain(louder, image, torch.tensor([1]), "0", method=method, steps=3)
    quiet = explain(model, image, torch.tensor([1]), "0", method=method, steps=3)
    torch.testing.assert_close(found / scale, quiet, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", names.METHODS)
def test_maps_hold_on_to_no_graph_of_the_caller_s(method: MethodName) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 9))
    images, start = (IMAGES * 1).requires_grad_(), torch.zeros_like(IMAGES[0]).requires_grad_()
    assert not explain(model, images, TARGETS, "1", method=method, steps=2, baseline=start).requires_grad


def test_it_runs_where_the_caller_has_gradients_off() -> None:
    expected = explain(watched_cnn(), IMAGES, TARGETS, "0", steps=3)
    with torch.no_grad():
        torch.testing.assert_close(explain(watched_cnn(), IMAGES, TARGETS, "0", steps=3), expected)
        assert not torch.is_grad_enabled()
    model = watched_cnn()
    with torch.inference_mode():
        torch.testing.assert_close(explain(model, IMAGES + 0, TARGETS + 0, "0", steps=3), expected)


def test_half_precision_gives_float32_maps_near_full_ones() -> None:
    model = watched_cnn()
    with frozen(model):
        full, half = (explainer(model, precision=precision) for precision in ("fp32", "bf16"))
        exact = full.explain(full.predict(IMAGES), TARGETS)["integrated-grad-cam"].maps
        near = half.explain(half.predict(IMAGES), TARGETS)["integrated-grad-cam"].maps
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() < 0.03 * exact.norm()
