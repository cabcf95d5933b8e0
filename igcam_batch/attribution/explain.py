"""`explain`: maps of a batch of images, for people in a notebook."""

from collections.abc import Sequence
from itertools import chain
from numbers import Integral, Real
from typing import get_args

import torch
from torch import Tensor, nn

from igcam_batch.attribution.baselines import Baseline
from igcam_batch.attribution.explainer import Explainer, default_batch_size
from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.layer_names import LayerError
from igcam_batch.attribution.layers import choose_layer
from igcam_batch.attribution.network import check_targets
from igcam_batch.attribution.quadrature import FEWEST_NODES, RULES, Adaptive
from igcam_batch.attribution.split import Split
from igcam_batch.errors import InputError
from igcam_batch.names import METHODS, ConfidenceName, MethodName, RuleName, ScoreName

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def explain(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | Sequence[int],
    layer: str | None = None,
    method: MethodName = "integrated-grad-cam",
    steps: int = 50,
    rule: RuleName = "riemann",
    score: ScoreName = "logit",
    baseline: Baseline | Sequence[Baseline] | None = None,
    *,
    tolerance: float | None = None,
    confidence: ConfidenceName = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """Explain why `model` scores each image the way it does for each target class.

    The model is left as it was: it runs in eval mode, without gradients for its parameters, and both are restored.
    Meanwhile it has hooks, so calls for one model must not overlap: one thread at a time.

    Args:
        model: maps (B, 3, H, W) to logits (B, C).
        images: (B, 3, H, W) preprocessed floats, on any device; they are moved to the model's.
        targets: (B,) or (B, K) class indices; one for each image also as a list or tuple.
        layer: dotted name of the module whose activations make the map, as `layer4`; None: the last feature map.
        method: `integrated-grad-cam` (Sattarzadeh et al. 2021), or another of `igcam_batch.names.METHODS`; their
            sources stand with each in `cams.py`, `perturbation.py` and `evaluation.py`.
        steps: quadrature nodes along the path, for integrated methods.
        rule: `riemann` (the paper's), `trapezoid`, `gauss-legendre` or `gauss-lobatto`.
        score: y_c as `logit` or as `probability`.
        baseline: (3, H, W), where paths start, in the images' own space; None: zeros, which is black only for a model
            that takes unnormalised pixels. For one that takes (pixel - mean) / std, black is -mean / std. Or a function
            of the images, as `baselines.blurred(10)`; or a sequence of either, whose maps are averaged.
        tolerance: instead of `steps` and `rule`: integrate every map until three nested Clenshaw-Curtis rules in a row
            differ by no more, relative to the map (L2), 129 nodes at most.
        confidence: what a probability is, `softmax` or `sigmoid`.
        batch_size: images × steps in one forward pass; None: 8 on a CPU, 64 on a GPU.

    Returns:
        (B, u, v) or (B, K, u, v) float32, non-negative, at the layer's own resolution, on the model's device; for
        `integrated-gradients` at the images' resolution. NaN for an image that is not finite, or whose logits are not.

    Raises:
        InputError: a shape, a value or a name that does not fit; the message says which.
    """
    baselines, targets = _baselines(baseline), _indices(targets)
    _check_names(method, rule, score, confidence)
    _check_counts(rule, steps, tolerance, batch_size)
    _check_tensors(model, images, targets, baselines)
    like = next(model.parameters(), images)
    batch_size = batch_size or default_batch_size(like.device)
    with torch.inference_mode(False), frozen(model):
        images = _ordinary(images.detach().to(like.device, like.dtype))
        per_image = _ordinary(targets.to(like.device).long().reshape(len(images), -1))
        explainer = Explainer(
            model,
            _layer(model, images[:1], layer),
            methods=[method],
            along=Adaptive(tolerance) if tolerance is not None else RULES[rule](steps),
            baselines=[_ordinary(one.detach().to(images)) if isinstance(one, Tensor) else one for one in baselines]
            or [torch.zeros_like(images[0])],
            score=score,
            confidence=confidence,
            batch_size=batch_size,
        )
        maps: list[Tensor] = []
        finite = images.isfinite().flatten(1).all(1)
        images = torch.where(finite.view(-1, 1, 1, 1), images, 0.0)
        for some, their_targets in zip(images.split(batch_size), per_image.split(batch_size), strict=True):
            prediction = explainer.predict(some)
            if not maps:
                check_targets(per_image, prediction.logits.shape[1])
            maps.append(explainer.explain(prediction, their_targets)[method].maps)
        found = torch.cat(maps).masked_fill(~finite.view(-1, 1, 1, 1), torch.nan)
    return found.reshape(*targets.shape, *found.shape[-2:])


def _layer(model: nn.Module, image: Tensor, layer: str | None) -> str:
    """The layer's name; LayerError says what is wrong with it."""
    try:
        return choose_layer(model, image, layer).name
    except LayerError:
        if layer is not None:
            Split(model, layer)(image, "none")  # which says it more closely
        raise


def _indices(targets: Tensor | Sequence[int]) -> Tensor:
    """Class indices as a tensor."""
    if isinstance(targets, Tensor):
        return targets
    if not isinstance(targets, list | tuple):
        raise InputError(f"targets: must be a torch.Tensor or a list of class indices, not {type(targets).__name__}")
    if odd := [target for target in targets if not _is_count(target)]:
        raise InputError(f"targets {odd[0]!r}: must be a whole number, the index of a class")
    return torch.tensor(targets, dtype=torch.int64)


def _ordinary(tensor: Tensor) -> Tensor:
    """A tensor that autograd takes, also where the caller made it in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def _baselines(baseline: Baseline | Sequence[Baseline] | None) -> tuple[Baseline, ...]:
    """One or several, or none, as several."""
    if baseline is None:
        return ()
    if isinstance(baseline, Tensor) or not isinstance(baseline, Sequence):
        return (baseline,)
    if not baseline:
        raise InputError("baseline: an empty sequence; name at least one, or None for zeros")
    return tuple(baseline)


def _check_names(method: str, rule: str, score: str, confidence: str) -> None:
    for name, value, known in (
        ("method", method, METHODS),
        ("rule", rule, tuple(RULES)),
        ("score", score, get_args(ScoreName)),
        ("confidence", confidence, get_args(ConfidenceName)),
    ):
        if value not in known:
            raise InputError(f"{name} {value}: no such {name}; there are: {', '.join(known)}")


def _check_counts(rule: RuleName, steps: int, tolerance: float | None, batch_size: int | None) -> None:
    least = FEWEST_NODES[rule]
    if not _is_count(steps) or steps < least:
        raise InputError(f"steps {steps}: rule {rule} needs a whole number of at least {least}")
    if tolerance is not None and not (_is_number(tolerance) and 0 < tolerance < 1):
        raise InputError(f"tolerance {tolerance}: must be a number between 0 and 1")
    if batch_size is not None and (not _is_count(batch_size) or batch_size < 1):
        raise InputError(f"batch_size {batch_size}: must be a whole number of at least 1")


def _is_number(value: object) -> bool:
    return isinstance(value, Real)


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_tensors(model: nn.Module, images: Tensor, targets: Tensor, baselines: Sequence[Baseline]) -> None:
    """InputError for what can be told wrong of the model and its inputs before it runs."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: must be a torch.nn.Module, not {type(model).__name__}")
    if any(tensor.is_inference() for tensor in chain(model.parameters(), model.buffers())):
        raise InputError(
            "model: was made under torch.inference_mode(), which rules gradients out for good; make it outside"
        )
    for name, value in (("images", images), *(("baseline", one) for one in baselines)):
        if not isinstance(value, Tensor) and not (name == "baseline" and callable(value)):
            raise InputError(f"{name}: must be a torch.Tensor, not {type(value).__name__}")
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise InputError(f"images: must be (B, 3, H, W) floats, not {tuple(images.shape)} {images.dtype}")
    whole = targets.dtype in _WHOLE
    if targets.ndim not in (1, 2) or len(targets) != len(images) or not whole or not targets.numel():
        raise InputError(
            f"targets: must be (B,) or (B, K) class indices for {len(images)} images, "
            f"not {tuple(targets.shape)} {targets.dtype}"
        )
    for baseline in baselines:
        if isinstance(baseline, Tensor) and baseline.shape != images.shape[1:]:
            raise InputError(f"baseline: must be {tuple(images.shape[1:])} like one image, not {tuple(baseline.shape)}")
        if isinstance(baseline, Tensor) and not baseline.isfinite().all():
            raise InputError("baseline: holds NaN or infinity")
