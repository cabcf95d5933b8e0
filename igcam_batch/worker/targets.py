"""Which classes of each image are explained, and why those."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igcam_batch.attribution.network import NO_TARGET
from igcam_batch.config import Target
from igcam_batch.models import ClassNames


class NoTargetError(ValueError):
    """An image has no class to explain; the message says why."""


@dataclass(frozen=True)
class ChosenTarget:
    """A class that is explained.

    Attributes:
        index: of the model's outputs.
        source: what chose it, as the column `target_source` says: predicted, label, predicted+label where the one is
            the other, top-1 ..., class.
    """

    index: int
    source: str


def choose_targets(target: Target, logits: Tensor, labels: Sequence[str], classes: ClassNames) -> list[ChosenTarget]:
    """The targets of one image.

    Args:
        target: what was asked for.
        logits: (C,) of the image.
        labels: the dataset's classes of the image.
        classes: of the model.

    Raises:
        NoTargetError: the image's labels do not say.
    """
    match target.kind:
        case "predicted":
            return [ChosenTarget(int(logits.argmax()), "predicted")]
        case "top":
            best = logits.topk(min(target.count, len(logits))).indices.tolist()
            return [ChosenTarget(index, f"top-{rank}") for rank, index in enumerate(best, start=1)]
        case "class":
            return [ChosenTarget(index, "class") for index in target.classes]
    labelled = [ChosenTarget(index, "label") for index in _indices(target, labels, classes)]
    if target.kind != "predicted+label":
        return labelled
    predicted = int(logits.argmax())
    if any(chosen.index == predicted for chosen in labelled):
        return [replace(chosen, source=target.kind) if chosen.index == predicted else chosen for chosen in labelled]
    return [ChosenTarget(predicted, "predicted"), *labelled]


def _indices(target: Target, labels: Sequence[str], classes: ClassNames) -> list[int]:
    """The classes that an image's labels name, each once."""
    if not labels:
        raise NoTargetError("the dataset gives it no label")
    wanted = [label for label in labels if not classes.leaves_out(label)]
    if not wanted:
        raise NoTargetError(f"--class-map leaves its classes out ({', '.join(labels)})")
    if target.kind == "label" and len(wanted) > 1:
        raise NoTargetError(f"has {len(wanted)} classes ({', '.join(wanted)}); --target labels explains each")
    indices = {label: classes.index(label) for label in wanted}
    unknown = [label for label, index in indices.items() if index is None]
    if unknown:
        raise NoTargetError(f"the model has no class {', '.join(unknown)}; --class-map names it")
    return [index for index in dict.fromkeys(indices.values()) if index is not None]


def pad_targets(targets: Sequence[Sequence[ChosenTarget]]) -> Tensor:
    """One list for each image -> (B, K) int64, short ones filled with NO_TARGET."""
    widest = max(len(chosen) for chosen in targets)
    return torch.tensor(
        [[target.index for target in chosen] + [NO_TARGET] * (widest - len(chosen)) for chosen in targets],
        dtype=torch.int64,
    )
