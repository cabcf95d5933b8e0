"""What comes in wrong: an error that names it, or a value that is documented, for that image alone."""

import pytest
import torch
from torch import Tensor, nn

from igcam_batch import InputError, explain
from igcam_batch.names import METHODS, MethodName

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(81))
TARGETS = torch.tensor([0, 1, 2])


class Network(nn.Module):
    """Mean pooling and a linear layer, to which the classes in `off` are nothing."""

    def __init__(self, off: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(82)
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.linear = nn.Linear(6, 4)
        with torch.no_grad():
            self.linear.weight[list(off)] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.trunk(x).mean((2, 3)))


class GivesNan(Network):
    """NaN for an image whose first pixel is 7."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.where(x[:, :1, :1, :1] == 7, torch.nan, x))


@pytest.mark.parametrize("method", METHODS)
def test_logits_of_nan_give_that_image_a_map_of_nan_and_leave_its_neighbours_alone(method: MethodName) -> None:
    images = IMAGES.clone()
    images[1, 0, 0, 0] = 7
    found = explain(GivesNan().eval(), images, TARGETS, "trunk", method=method, steps=3)
    assert found[1].isnan().all()
    alone = explain(GivesNan().eval(), images[::2], TARGETS[::2], "trunk", method=method, steps=3)
    torch.testing.assert_close(found[::2], alone)
    assert alone.isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("method", METHODS)
def test_an_image_that_is_not_finite_has_a_map_of_nan_and_leaves_its_neighbours_alone(
    value: float, method: MethodName
) -> None:
    images = IMAGES.clone()
    images[0, 1, 3, 3] = value  # in the first batch, which tells what kind of head there is
    found = explain(Network().eval(), images, TARGETS, "trunk", method=method, steps=3)
    assert found[0].isnan().all()
    torch.testing.assert_close(
        found[1:], explain(Network().eval(), IMAGES[1:], TARGETS[1:], "trunk", method=method, steps=3)
    )


@pytest.mark.parametrize("method", [method for method in METHODS if method != "score-cam"])
def test_a_target_that_does_not_depend_on_the_layer_has_a_zero_map(method: MethodName) -> None:
    found = explain(Network(off=(1,)).eval(), IMAGES, TARGETS, "trunk", method=method, steps=3)
    assert found[1].abs().max() == 0
    assert found[[0, 2]].max() > 0


def test_score_cam_of_a_target_that_does_not_depend_on_the_image_is_the_mean_of_the_channels() -> None:
    """No channel raises its score more than another: softmax weights them all alike."""
    model = Network(off=(1,)).eval()
    found = explain(model, IMAGES, TARGETS, "trunk", method="score-cam")
    with torch.no_grad():
        torch.testing.assert_close(found[1], model.trunk(IMAGES[1:2]).mean(1)[0])


def test_a_target_outside_the_classes_is_named_before_anything_is_explained() -> None:
    model, calls = Network().eval(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(InputError, match=r"target 4: the model has 4 classes, 0 to 3"):
        explain(model, IMAGES, torch.tensor([0, 1, 4]), "trunk", batch_size=1)
    assert len(calls) <= 2  # of the first image alone: its layer, its prediction


def test_a_norm_that_mixes_the_images_of_a_batch_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    with pytest.raises(InputError, match=r"Sequential: 1 takes its statistics from the batch"):
        explain(model, IMAGES, TARGETS, "0")


def test_a_target_outside_the_classes_is_named() -> None:
    with pytest.raises(InputError, match="target 4: the model has 4 classes, 0 to 3"):
        explain(Network().eval(), IMAGES, torch.tensor([0, 4, 1]), "trunk")


def test_images_of_several_sizes_are_told_to_be_one_tensor() -> None:
    with pytest.raises(InputError, match=r"images: must be a torch\.Tensor, not list"):
        explain(Network().eval(), [IMAGES[0], IMAGES[1, :, :9]], TARGETS[:2], "trunk")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_call_gives_the_same_map_bit_for_bit(method: MethodName) -> None:
    first, second = (explain(Network().eval(), IMAGES, TARGETS, "trunk", method=method, steps=3) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_in_double_precision_is_explained_as_one_in_single(method: MethodName, dtype: torch.dtype) -> None:
    found = explain(Network().eval().to(dtype), IMAGES, TARGETS, "trunk", method=method, steps=3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, explain(Network().eval(), IMAGES, TARGETS, "trunk", method=method, steps=3), rtol=1e-3, atol=1e-5
    )
