"""What runs on a GPU asks for nothing on another device, and for nothing from it. None is needed to see that.

Tensors are fakes that know shape, dtype and device only: two devices in one operation are an error, as they are on a
GPU, and so is a value that Python would have to wait for.
"""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision import models

from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.metrics.evaluate import Explained, evaluate
from igcam_batch.names import METHODS, METRICS, MethodName, MetricName

ELSEWHERE = "lazy:0"  # autograd asks no driver about it
WITHOUT_WAITING = [method for method in METHODS if method not in ("score-cam", "ablation-cam")]  # they look for zeros


@pytest.fixture
def images() -> Iterator[torch.Tensor]:
    with FakeTensorMode():
        yield torch.rand(4, 3, 64, 64, device=ELSEWHERE)


@pytest.mark.parametrize("linear", [True, False], ids=["linear head", "any head"])
@pytest.mark.parametrize("method", WITHOUT_WAITING)
def test_a_method_stays_on_the_device_and_waits_for_nothing(
    images: torch.Tensor, method: MethodName, linear: bool
) -> None:
    if method == "cam" and not linear:
        return
    with torch.device(ELSEWHERE):
        model = models.resnet18(weights=None).eval().requires_grad_(False)
        head = torch.rand(1000, 512) if linear else None
    explainer = Explainer(
        model,
        "layer4",
        methods=[method],
        along=RULES["riemann"](3),
        baselines=[torch.zeros_like(images[0])],
        score="logit",
        confidence="softmax",
        batch_size=4,
    )
    explainer._network._head, explainer._network._head_is_known = head, True  # it is found by looking at values, once
    found = explainer.explain(explainer.predict(images), torch.zeros(4, 2, dtype=torch.int64, device=ELSEWHERE))
    assert found[method].maps.device == images.device
    assert found[method].maps.dtype == torch.float32


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "bbox"])  # it counts pixels
def test_a_metric_stays_on_the_device_and_waits_for_nothing(images: torch.Tensor, metric: MetricName) -> None:
    maps = images[:, 0]
    explained = Explained(
        maps=maps,
        images=images,
        classes=torch.zeros(4, dtype=torch.int64, device=ELSEWHERE),
        confidences=maps[:, 0, 0],
        objects=maps > 0.5,
        fill=torch.zeros_like(images),
        insertion_start=torch.zeros_like(images),
        of_shifted={(1, 0): maps},
    )
    found = evaluate([metric], explained, lambda some, classes: some[:, 0, 0, 0] * classes)
    assert {values.device for values in found.values()} == {images.device}
