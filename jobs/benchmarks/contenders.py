"""Everything that `engine` times: the floor, the engine in its varieties, and what others would run instead."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.peers import (
    authors_algorithm,
    captum_grad_cam,
    captum_integrated_gradients,
    looped,
    pytorch_grad_cam,
    torchcam_grad_cam,
)
from benchmarks.subjects import DEVICE, PRECISIONS, Subject
from benchmarks.timing import Contender
from igcam_batch.attribution.explainer import default_batch_size
from igcam_batch.attribution.network import confidences
from igcam_batch.attribution.quadrature import Quadrature, gauss_lobatto, riemann
from igcam_batch.attribution.upsample import upsample
from igcam_batch.metrics.evaluate import Explained, evaluate
from igcam_batch.names import PAPER_METRICS, MethodName, PrecisionName
from igcam_batch.worker.device import settle_arithmetic

_THERE_AND_BACK = 4  # forward passes that forward and backward cost, to plan by
_INTEGRATED: list[MethodName] = ["integrated-grad-cam"]

PYTORCH_GRAD_CAM = "pytorch-grad-cam: grad-cam"
CAPTUM = "captum: grad-cam"
TORCHCAM = "torchcam: grad-cam"
LOBATTO = "ours: gauss-lobatto 5"
LOBATTO_BF16 = "ours: gauss-lobatto 5, bf16"


def floor(steps: int) -> str:
    """The label of m forward passes."""
    return f"floor: forward x {steps}"


def ours(steps: int, variety: str = "") -> str:
    """The label of the engine with the paper's rule."""
    return f"ours: riemann {steps}" + (f", {variety}" if variety else "")


def authors(steps: int) -> str:
    """The label of the authors' algorithm."""
    return f"authors' algorithm, m = {steps}"


def loop_of(label: str, steps: int) -> str:
    """The label of a peer's Grad-CAM over the m interpolated images."""
    return f"{label} x {steps}"


def forwards(model: nn.Module, images: Tensor, steps: int) -> None:
    """As many inputs as there are images × steps through the network, in passes of the engine's size, no gradients."""
    inputs, at_once = len(images) * steps, default_batch_size(DEVICE)
    filled = images.repeat(-(-at_once // len(images)), 1, 1, 1)[:at_once]
    filled = filled.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for begin in range(0, inputs, at_once):
            model(filled[: inputs - begin])


def contenders(
    subject: Subject, images: Tensor, targets: Tensor, steps: Sequence[int], *, quick: bool
) -> list[Contender]:
    """All contenders; the first of `steps` is what everything but floor, engine and the authors' algorithm runs at.

    Args:
        subject: the network.
        images: (B, 3, H, W).
        targets: (B, 5) class indices, of which the first is explained unless all five are.
        steps: numbers m of quadrature nodes.
        quick: leave out what takes m passes forward and back, but for the authors' algorithm at the first m.
    """
    found: list[Contender] = []
    exact = subject.ready("fp32")
    for m in steps:
        found.append(Contender(floor(m), lambda n, m=m: forwards(exact, images[:n], m), m, m, exact=True))  # type: ignore[misc]
        for precision in PRECISIONS:
            label = ours(m) if precision == "fp32" else ours(m, precision)
            found.append(_ours(subject, images, targets[:, :1], label, riemann(m), m, authors(m), precision=precision))
    m = steps[0]
    if subject.folds:
        found.append(
            Contender(
                f"plain forward x {m}, norms not folded",
                lambda n: forwards(subject.plain, images[:n], m),
                m,
                m,
                floor(m),
            )
        )
    found += [
        _ours(subject, images, targets, ours(m, "5 targets"), riemann(m), m, ours(m)),
        _ours(
            subject,
            images,
            targets[:, :1],
            ours(m, "3 methods"),
            riemann(m),
            m,
            ours(m),
            methods=[*_INTEGRATED, "grad-cam", "grad-cam++"],
        ),
        _ours(subject, images, targets[:, :1], ours(m, "4 metrics"), riemann(m), m, ours(m), metrics=True),
        _ours(subject, images, targets[:, :1], LOBATTO, gauss_lobatto(5), 4, PYTORCH_GRAD_CAM),
        _ours(subject, images, targets[:, :1], LOBATTO_BF16, gauss_lobatto(5), 4, PYTORCH_GRAD_CAM, precision="bf16"),
        _ours(subject, images, targets[:, :1], "ours: grad-cam", riemann(1), 1, PYTORCH_GRAD_CAM, methods=["grad-cam"]),
    ]
    return found + _peers(subject, images, targets[:, 0], steps, quick=quick)


def _ours(
    subject: Subject,
    images: Tensor,
    targets: Tensor,
    label: str,
    rule: Quadrature,
    passes: int,
    against: str,
    *,
    methods: list[MethodName] = _INTEGRATED,
    precision: PrecisionName = "fp32",
    metrics: bool = False,
) -> Contender:
    explainer = subject.explainer(methods, rule, torch.zeros_like(images[0]), precision)
    side = images.shape[-1]
    middle = torch.zeros(1, side, side, dtype=torch.bool, device=DEVICE)
    middle[:, side // 4 : -(side // 4), side // 4 : -(side // 4)] = True

    def run(n: int) -> None:
        settle_arithmetic(DEVICE, precision)
        try:
            explain(n)
        finally:
            settle_arithmetic(DEVICE, "fp32")  # to the others, who compute in fp32

    def explain(n: int) -> None:
        prediction = explainer.predict(images[:n])
        found = explainer.explain(prediction, targets[:n])
        if metrics:
            classes = targets[:n, 0]
            explained = Explained(
                upsample(found["integrated-grad-cam"].maps[:, 0], (side, side)),
                images[:n],
                classes,
                confidences(prediction.logits, "softmax").gather(1, classes.unsqueeze(1)).squeeze(1),
                middle.expand(n, -1, -1),
                subject.black().expand_as(images[:n]),
            )
            evaluate(PAPER_METRICS, explained, explainer.confidence)

    return Contender(label, run, passes + metrics, passes, against, exact=True)


def _peers(subject: Subject, images: Tensor, targets: Tensor, steps: Sequence[int], *, quick: bool) -> list[Contender]:
    m = steps[0]
    model, layer = subject.loaded, subject.layer
    grad_cams = {
        PYTORCH_GRAD_CAM: pytorch_grad_cam(model, layer),
        CAPTUM: captum_grad_cam(model, layer),
        TORCHCAM: torchcam_grad_cam(model, layer),
    }

    def one(grad_cam: Callable[[Tensor, Tensor], Tensor]) -> Callable[[int], object]:
        return lambda n: grad_cam(images[:n], targets[:n])

    def loop(grad_cam: Callable[[Tensor, Tensor], Tensor]) -> Callable[[int], object]:
        return lambda n: looped(grad_cam, images[:n], targets[:n], m)

    found = [Contender(label, one(cam), _THERE_AND_BACK, against=LOBATTO) for label, cam in grad_cams.items()]
    notebook = authors_algorithm(model, layer)
    found += [
        Contender(
            authors(many),
            lambda n, many=many: notebook(images[:n], targets[:n], many),  # type: ignore[misc]
            many * _THERE_AND_BACK,
            many,
            ours(many),
        )
        for many in (steps[:1] if quick else steps)
    ]
    if quick:
        return found
    found += [
        Contender(loop_of(label, m), loop(cam), m * _THERE_AND_BACK, m, ours(m)) for label, cam in grad_cams.items()
    ]
    label = f"captum: integrated gradients, riemann {m}"
    gradients = captum_integrated_gradients(model)
    at_once = default_batch_size(DEVICE)
    pixels = _ours(
        subject,
        images,
        targets.unsqueeze(1),
        f"ours: integrated-gradients, riemann {m}",
        riemann(m),
        m,
        label,
        methods=["integrated-gradients"],
    )
    return [
        *found,
        Contender(label, lambda n: gradients(images[:n], targets[:n], m, at_once), m * _THERE_AND_BACK, m),
        Contender(pixels.label, pixels.run, m * _THERE_AND_BACK, m, label),
    ]
