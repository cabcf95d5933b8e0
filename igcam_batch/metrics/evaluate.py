"""The chosen metrics of a batch of maps, with the forward passes that they share made once."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from igcam_batch.metrics.complexity import sparsity
from igcam_batch.metrics.curves import Curves
from igcam_batch.metrics.faithfulness import (
    ConfidenceFunction,
    average_gain,
    drop,
    highest_pixels,
    increase,
    masked_confidence,
)
from igcam_batch.metrics.localisation import bbox, ebpg, pointing_game
from igcam_batch.metrics.stability import Shift, sensitivity
from igcam_batch.names import MetricName, metric_column

LOCALISATION: frozenset[MetricName] = frozenset({"ebpg", "bbox", "pointing-game"})
"""The metrics that ask where the objects are."""
_MASKED: dict[MetricName, Callable[[Tensor, Tensor], Tensor]] = {
    "drop": drop,
    "increase": increase,
    "average-gain": average_gain,
}


@dataclass(frozen=True)
class MetricSettings:
    """What metrics leave open.

    Attributes:
        kept_share: of the pixels that Drop, Increase and average gain keep.
        pointing_tolerance: pixels by which the pointing game may miss.
        curve_steps: steps of the insertion and deletion curves.
        batch_size: images in one forward pass of these curves.
    """

    kept_share: float = 0.15
    pointing_tolerance: int = 15
    curve_steps: int = 32
    batch_size: int = 8


@dataclass(frozen=True)
class Explained:
    """Maps at the image's resolution, with what they explain. n rows, one for each image × target × method.

    Attributes:
        maps: (n, H, W) float32, non-negative.
        images: (n, 3, H, W), preprocessed.
        classes: (n,) target class indices.
        confidences: (n,) Ψ(I), the confidence in the target before masking.
        objects: (n, H, W) bool, where the target's objects are; empty where the dataset does not say.
        fill: (n, 3, H, W), what takes the place of a hidden pixel.
        insertion_start: (n, 3, H, W), what `insertion` puts pixels into; None where that is not asked for.
        of_shifted: shift -> (n, H, W), the maps of the shifted images; empty where `sensitivity` is not asked for.
    """

    maps: Tensor
    images: Tensor
    classes: Tensor
    confidences: Tensor
    objects: Tensor
    fill: Tensor
    insertion_start: Tensor | None = None
    of_shifted: Mapping[Shift, Tensor] = field(default_factory=dict)


def evaluate(
    metrics: Collection[MetricName],
    explained: Explained,
    confidence: ConfidenceFunction,
    settings: MetricSettings | None = None,
) -> dict[str, Tensor]:
    """Column name -> (n,) float32 values, NaN where there is none: each metric, and `masked_confidence` if computed.

    Args:
        metrics: names of the metrics.
        explained: the maps.
        confidence: scores images for one class each.
        settings: None: the defaults.
    """
    settings = settings or MetricSettings()
    values: dict[str, Tensor] = {}
    if "ebpg" in metrics:
        values["ebpg"] = ebpg(explained.maps, explained.objects)
    if "bbox" in metrics:
        values["bbox"] = bbox(explained.maps, explained.objects)
    if "pointing-game" in metrics:
        values["pointing_game"] = pointing_game(explained.maps, explained.objects, settings.pointing_tolerance)
    if "sparsity" in metrics:
        values["sparsity"] = sparsity(explained.maps)
    if "sensitivity" in metrics:
        values["sensitivity"] = sensitivity(explained.maps, explained.of_shifted)
    if not _MASKED.keys().isdisjoint(metrics):
        kept = highest_pixels(explained.maps, settings.kept_share)
        masked = masked_confidence(confidence, explained.images, explained.classes, kept, explained.fill)
        values["masked_confidence"] = masked
        for name, of_masked in _MASKED.items():
            if name in metrics:
                values[metric_column(name)] = of_masked(explained.confidences, masked)
    values |= _curves(metrics, explained, confidence, settings)
    return {name: torch.where(column.isfinite(), column, torch.nan) for name, column in values.items()}


def _curves(
    metrics: Collection[MetricName], explained: Explained, confidence: ConfidenceFunction, settings: MetricSettings
) -> dict[str, Tensor]:
    curves = Curves(
        confidence,
        explained.images,
        explained.classes,
        explained.confidences,
        settings.curve_steps,
        settings.batch_size,
    )
    values = {}
    if "insertion" in metrics:
        assert explained.insertion_start is not None
        values["insertion"] = curves.insertion(explained.maps, explained.insertion_start)
    if "deletion" in metrics:
        values["deletion"] = curves.deletion(explained.maps, explained.fill)
    return values
