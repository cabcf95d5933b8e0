"""The chosen metrics of a batch of maps, with the forward passes that they share made once."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from igcam_batch.metrics.faithfulness import ConfidenceFunction, drop, highest_pixels, increase, masked_confidence
from igcam_batch.metrics.localisation import bbox, ebpg
from igcam_batch.names import MetricName


@dataclass(frozen=True)
class Explained:
    """Maps at the image's resolution, with what they explain. n rows, one for each image × target × method.

    Attributes:
        maps: (n, H, W) float32, non-negative.
        images: (n, 3, H, W), preprocessed.
        classes: (n,) target class indices.
        confidences: (n,) Ψ(I), the confidence in the target before masking.
        objects: (n, H, W) bool, where the target's objects are; empty where the dataset does not say.
    """

    maps: Tensor
    images: Tensor
    classes: Tensor
    confidences: Tensor
    objects: Tensor


def evaluate(
    metrics: Collection[MetricName], explained: Explained, confidence: ConfidenceFunction, black: Tensor
) -> dict[str, Tensor]:
    """Column name -> (n,) float32 values, NaN where there is none: each metric, and `masked_confidence` if computed.

    Args:
        metrics: names of the metrics.
        explained: the maps.
        confidence: scores images for one class each.
        black: (3, 1, 1), black in the images' space.
    """
    values: dict[str, Tensor] = {}
    if "ebpg" in metrics:
        values["ebpg"] = ebpg(explained.maps, explained.objects)
    if "bbox" in metrics:
        values["bbox"] = bbox(explained.maps, explained.objects)
    if "drop" in metrics or "increase" in metrics:
        kept = highest_pixels(explained.maps)
        masked = masked_confidence(confidence, explained.images, explained.classes, kept, black)
        values["masked_confidence"] = masked
        if "drop" in metrics:
            values["drop"] = drop(explained.confidences, masked)
        if "increase" in metrics:
            values["increase"] = increase(explained.confidences, masked)
    return {name: torch.where(column.isfinite(), column, torch.nan) for name, column in values.items()}
