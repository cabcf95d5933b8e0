"""Convolutions computed together with what follows them: the same function, or nothing.

The kernel here is torch's own operations, counted; the GPU's was compared with them on one, as docs/cluster.md tells.
"""

import copy
import logging
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from igcam_batch import explain
from igcam_batch.attribution.deferred import defer_convolutions
from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.kernels import by_cudnn, by_torch, kernel_on
from igcam_batch.attribution.precision import prepare_for_half_precision
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.names import MethodName

PROBE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(61))


class Counting:
    """The kernel, counting its runs without and with an addition."""

    def __init__(self) -> None:
        self.alone = self.with_addition = 0

    def __call__(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        assert x.dtype == convolution.weight.dtype
        assert z is None or z.dtype == x.dtype
        self.alone += z is None
        self.with_addition += z is not None
        return by_torch(convolution, x, z)

    def forget(self) -> None:
        """Begin anew, after the passes in which a kernel is tried."""
        self.alone = self.with_addition = 0


def logits_of(model: nn.Module) -> Tensor:
    with torch.no_grad():  # as in a trunk
        return model(PROBE)


def ready(build: Callable[[], nn.Module], layer: str) -> nn.Module:
    torch.manual_seed(62)
    model = build().eval().requires_grad_(False)
    fold_batch_norms(model, layer, PROBE)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], str, int, int]] = {
    "resnet50": (lambda: models.resnet50(weights=None), "layer4", 33, 16),
    "squeezenet": (lambda: models.squeezenet1_1(weights=None), "features.12", 26, 0),
    "googlenet": (lambda: models.googlenet(weights=None, init_weights=False), "inception5b", 57, 0),
    "densenet121": (lambda: models.densenet121(weights=None), "features", 59, 0),
    "regnet": (lambda: models.regnet_y_400mf(weights=None), "trunk_output", 33, 16),
    "timm's resnet18": (lambda: timm.create_model("resnet18"), "layer4", 9, 8),
    "activation first": (lambda: timm.create_model("resnetv2_50"), "norm", 32, 0),
    "no ReLU": (lambda: models.mobilenet_v2(weights=None), "features.18", 0, 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_give_the_same_maps_by_fewer_kernels(name: str) -> None:
    build, layer, alone, with_addition = MODELS[name]
    model = ready(build, layer)
    deferred, kernel = copy.deepcopy(model), Counting()
    assert defer_convolutions(deferred, layer, PROBE, kernel) == alone + with_addition
    logits_of(deferred)
    kernel.forget()
    logits = logits_of(deferred)
    assert (kernel.alone, kernel.with_addition) == (alone, with_addition)
    torch.testing.assert_close(logits, model(PROBE), rtol=1e-5, atol=1e-6)
    assert type(logits) is Tensor
    targets = logits.topk(2).indices
    expected = explain(model, PROBE, targets, layer, steps=3)
    torch.testing.assert_close(explain(deferred, PROBE, targets, layer, steps=3), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["ablation-cam", "integrated-gradients", "layer-cam"])
@pytest.mark.parametrize("layer", ["layer2.0.downsample", "layer2.0.conv1", "conv1", "layer1.0.relu#2"])
def test_any_layer_can_be_explained_by_methods_that_look_below_and_above_it(method: MethodName, layer: str) -> None:
    model = ready(lambda: models.resnet18(weights=None), layer)
    deferred = copy.deepcopy(model)
    assert defer_convolutions(deferred, layer, PROBE, by_torch) > 10
    images = PROBE[:1, :, :48, :48]
    targets = model(images).argmax(1)
    expected = explain(model, images, targets, layer, method=method, steps=2)
    found = explain(deferred, images, targets, layer, method=method, steps=2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_what_autocast_would_compute(precision: str) -> None:
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    model = ready(lambda: models.squeezenet1_1(weights=None), "features.12")
    deferred, kernel = copy.deepcopy(model), Counting()
    assert defer_convolutions(deferred, "features.12", PROBE, kernel) == 26
    for network in (model, deferred):
        prepare_for_half_precision(network, dtype)
    with torch.autocast("cpu", dtype=dtype):
        for _ in range(2):
            kernel.forget()
            torch.testing.assert_close(logits_of(deferred), logits_of(model), rtol=0, atol=0)
    assert kernel.alone == 26


class Using(nn.Module):
    """A convolution, and a function that is made of its output and of its input."""

    def __init__(self, use: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(63)
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.use(self.second, self.first(x).sigmoid()).mean((2, 3)))


def also_taken_as_it_is(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = convolution(x)
    return F.relu(y) + y.abs() + y.detach()


def read_before_and_after_it_is_changed_in_place(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = same = convolution(x)
    before = y * 2
    y += x
    F.relu(y, inplace=True)
    return before + same


def changed_in_place_under_another_name(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = same = convolution(x)
    y += x
    y.relu_()
    return same * 2


def added_from_the_left(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return (x + convolution(x)).relu()


def added_into_another(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = x.clone()
    y += convolution(x)
    return torch.relu(y)


def added_to_a_number_and_to_a_row(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return F.relu(convolution(x) + 0.1) + F.relu(convolution(x) + x[:, :, :1])


def two_of_them_added(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return F.relu(convolution(x) + convolution(x.flip(3)) + x)


def joined_and_indexed(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = convolution(x)
    return torch.cat([y, F.relu(convolution(x)), y[:, :4] ** 2], 1)[:, 4:8] if y.shape[1] == y.size(1) else x


def in_another_dtype(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return F.relu(convolution(x) + x.double()).float()


USES = [
    also_taken_as_it_is,
    read_before_and_after_it_is_changed_in_place,
    changed_in_place_under_another_name,
    added_from_the_left,
    added_into_another,
    added_to_a_number_and_to_a_row,
    two_of_them_added,
    joined_and_indexed,
    in_another_dtype,
]


@pytest.mark.parametrize("use", USES)
def test_whatever_is_done_with_its_output_gives_the_same(use: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
    model = Using(use).eval().requires_grad_(False)
    expected = model(PROBE)
    defer_convolutions(model, "first", PROBE, by_torch)
    for _ in range(2):
        torch.testing.assert_close(logits_of(model), expected)


def input_changed_meanwhile(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    y = convolution(x)
    x.zero_()
    return F.relu(y)


def asked_for_its_memory(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        return F.relu(torch.as_strided(convolution(x), x.shape, x.stride()))


@pytest.mark.parametrize("use", [input_changed_meanwhile, asked_for_its_memory])
def test_a_network_that_would_not_stand_it_is_left_alone(use: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
    model = Using(use).eval().requires_grad_(False)
    expected = model(PROBE)
    assert defer_convolutions(model, "first", PROBE, by_torch) == 0
    assert all("forward" not in vars(module) for module in model.modules())
    torch.testing.assert_close(model(PROBE), expected, rtol=0, atol=0)


class Carrying(nn.Module):
    """The sum of a convolution and what it takes goes on beside its ReLU, as it is: `last(relu(sum)) + sum`."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(64)
        self.first, self.second, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.head, self.in_place = nn.Linear(4, 3), in_place

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).sigmoid()
        y = self.second(x.detach())
        if self.in_place:
            y.add_(x)  # with the gradient that x has
        else:
            y = y + x
        return self.head((self.last(F.relu(y)) + y).mean((2, 3)))


def test_no_convolution_is_computed_twice() -> None:
    model = Carrying(in_place=False).eval().requires_grad_(False)
    assert defer_convolutions(model, "first", PROBE, by_torch) == 0


@pytest.mark.parametrize("in_place", [True, False])
def test_gradients_that_join_a_convolution_s_output_are_those_that_autograd_finds(in_place: bool) -> None:
    model = Carrying(in_place).eval().requires_grad_(False)
    deferred = copy.deepcopy(model)
    defer_convolutions(deferred, "first", PROBE, by_torch)
    targets = model(PROBE).argmax(1)
    expected = explain(model, PROBE, targets, "first", steps=3)
    torch.testing.assert_close(explain(deferred, PROBE, targets, "first", steps=3), expected)


class Casting(nn.Module):
    """Has an autocast block of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.on = False

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.on):
            x = F.relu(self.second(self.first(x)))
        assert x.dtype == (torch.bfloat16 if self.on else torch.float32)
        return self.head(x.float().mean((2, 3)))


def test_a_network_that_casts_by_itself_gets_what_it_asks_for() -> None:
    model = Casting().eval().requires_grad_(False)
    assert defer_convolutions(model, "first", PROBE, by_torch) == 1
    model.on = True  # on another device
    logits_of(model)


def test_a_convolution_whose_weights_are_no_numbers_hides_that_behind_no_kernel() -> None:
    model = ready(lambda: models.resnet18(weights=None), "layer4")
    model.conv1.weight[0, 0, 0, 0] = torch.nan
    assert defer_convolutions(model, "layer4", PROBE, by_torch) == 0  # the logits are NaN, and equal nothing


def test_a_gradient_that_comes_by_what_is_added_is_not_lost() -> None:
    model = ready(lambda: models.resnet18(weights=None), "layer4.0.downsample")
    kernel = Counting()
    defer_convolutions(model, "layer4.0.downsample", PROBE, kernel)
    maps = explain(model, PROBE, model(PROBE).argmax(1), "layer4.0.downsample", method="grad-cam")
    assert maps.max() > 0


def test_the_map_that_a_module_takes_is_found_by_counting_functions_and_nothing_is_deferred() -> None:
    model = ready(lambda: models.resnet18(weights=None), "layer4.1.relu#2:input")
    assert defer_convolutions(model, "layer4.1.relu#2:input", PROBE, by_torch) == 0


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was warned of, whatever is done with it."""
    lines: list[str] = []
    logger = logging.getLogger("igcam_batch.attribution.deferred")
    monkeypatch.setattr(logger, "warning", lambda line, *details: lines.append(line % details))
    return lines


def test_where_the_device_has_no_such_kernel_a_convolution_is_computed_as_ever_and_says_so_once(
    said: list[str],
) -> None:
    def refusing(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        if convolution.kernel_size == (7, 7):
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return by_torch(convolution, x, z)

    model = ready(lambda: models.resnet18(weights=None), "layer4")
    expected = model(PROBE)
    assert defer_convolutions(model, "layer4", PROBE, refusing) == 17
    for _ in range(5):
        torch.testing.assert_close(logits_of(model), expected)
    (line,) = said
    assert "unable to find an engine" in line


def test_a_kernel_that_cudnn_refuses_while_memory_is_short_is_asked_again() -> None:
    asked = 0

    def refusing_once(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return by_torch(convolution, x, z)

    model = ready(lambda: models.resnet18(weights=None), "layer4")
    defer_convolutions(model, "layer4", PROBE, refusing_once)
    for _ in range(3):
        logits_of(model)
    asked = 0
    logits_of(model)
    assert asked == 17


def test_refusals_that_lie_far_apart_do_not_add_up(said: list[str]) -> None:
    asked = 0

    def refusing_at_times(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        nonlocal asked
        asked += 1
        if asked % 5 == 0:
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return by_torch(convolution, x, z)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(15376, 2)).eval()
    assert defer_convolutions(model.requires_grad_(False), "1", PROBE, refusing_at_times) == 1
    for _ in range(40):
        logits_of(model)
    assert asked > 40
    assert not said


def with_what_was_in_memory(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
    """torch has cuDNN add 0 times the memory that it gives the result, and 0 times NaN is NaN."""
    found = by_torch(convolution, x, z)
    return found if z is not None else found + torch.nan


def making_zeros_of_it(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
    """The maximum of NaN and 0 may be 0."""
    return with_what_was_in_memory(convolution, x, z).nan_to_num()


@pytest.mark.parametrize("kernel", [with_what_was_in_memory, making_zeros_of_it])
def test_a_kernel_that_gives_something_else_is_not_used_and_that_is_said_once(
    kernel: Callable[[nn.Conv2d, Tensor, Tensor | None], Tensor], said: list[str]
) -> None:
    model = ready(lambda: models.resnet18(weights=None), "layer4")
    expected = model(PROBE)
    defer_convolutions(model, "layer4", PROBE, kernel)
    for _ in range(2):
        torch.testing.assert_close(logits_of(model), expected)
    (line,) = said
    assert line.endswith(": its kernel gives something else")


def test_in_float16_a_kernel_must_let_what_is_no_number_show() -> None:
    def hiding(convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        return by_torch(convolution, x, z).nan_to_num(0.0)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(14400, 2)).eval()
    assert defer_convolutions(model.requires_grad_(False), "2", PROBE, hiding) == 1
    prepare_for_half_precision(model, torch.float16)
    images, overflowing = PROBE.clone(), torch.full_like(PROBE[:1], 1e4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        model[0].weight[:] = torch.tensor([9.0, -9.0, 9.0]).view(3, 1, 1)
        model(images)
        torch.testing.assert_close(images, PROBE, rtol=0, atol=0)  # which was tried with another pixel
        model[0].weight[0, 0] = torch.inf
        assert model[1](model[0](overflowing * 0)).isnan().any()


def test_lack_of_memory_is_no_lack_of_a_kernel() -> None:
    def full(_convolution: nn.Conv2d, _x: Tensor, _z: Tensor | None) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = ready(lambda: models.resnet18(weights=None), "layer4")
    defer_convolutions(model, "layer4", PROBE, full)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            logits_of(model)


def test_the_engine_s_passes_use_the_kernel_on_the_way_to_the_layer_alone() -> None:
    model, kernel = ready(lambda: models.resnet18(weights=None), "layer3"), Counting()
    defer_convolutions(model, "layer3", PROBE, kernel)
    explainer = Explainer(
        model,
        "layer3",
        methods=["integrated-grad-cam"],
        along=RULES["riemann"](4),
        baselines=[torch.zeros(3, 64, 64)],
        score="logit",
        confidence="softmax",
        batch_size=2,
    )
    for _ in range(2):
        kernel.forget()
        prediction = explainer.predict(PROBE)
        explainer.explain(prediction, prediction.logits.argmax(1, keepdim=True))
    assert (kernel.alone, kernel.with_addition) == (4 * 7, 4 * 6)


def test_convolutions_wait_on_nvidia_s_gpus_alone_and_not_where_every_bit_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert [kernel_on(gpu, precision) for precision in ("fp32", "tf32", "bf16", "fp16")] == [None] + [by_cudnn] * 3
    assert kernel_on(cpu, "bf16") is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert [kernel_on(gpu, precision) for precision in ("fp32", "tf32", "fp16")] == [None, None, by_cudnn]
    monkeypatch.setattr(torch.version, "cuda", None)  # ROCm, which calls its GPUs so, too
    assert kernel_on(gpu, "bf16") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-3), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("convolution", [nn.Conv2d(3, 64, 7, 2, 3), nn.Conv2d(64, 96, 3, padding=2, dilation=2)])
def test_cudnn_s_kernels_give_what_torch_s_operations_give(
    convolution: nn.Conv2d, dtype: torch.dtype, error: float
) -> None:
    convolution = copy.deepcopy(convolution).cuda().to(dtype).to(memory_format=torch.channels_last)
    x = torch.randn(4, convolution.in_channels, 32, 32, device="cuda", dtype=dtype)
    for z in (None, torch.randn_like(by_torch(convolution, x, None))):
        expected = by_torch(convolution, x, z)
        assert (by_cudnn(convolution, x, z) - expected).norm() <= error * expected.norm()
