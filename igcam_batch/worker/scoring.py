"""Explained images to rows of the tables: their metrics, their maps as they are stored, and what they failed by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igcam_batch.attribution.baselines import baseline_images
from igcam_batch.attribution.explainer import Explainer, Explanation, Prediction
from igcam_batch.attribution.network import confidences
from igcam_batch.attribution.upsample import upsample
from igcam_batch.config import AuditConfig, BaselineImage
from igcam_batch.metrics.evaluate import LOCALISATION, Explained, MetricSettings, evaluate
from igcam_batch.metrics.localisation import box_mask
from igcam_batch.metrics.stability import Shift
from igcam_batch.models import ClassNames, LoadedModel
from igcam_batch.names import MethodName
from igcam_batch.sources import CARRIED, SIDES
from igcam_batch.tables import carried_names
from igcam_batch.worker.masks import unpack
from igcam_batch.worker.preprocess import Preprocess
from igcam_batch.worker.targets import ChosenTarget

Explanations = Mapping[MethodName, Explanation]


@dataclass
class Rows:
    """The rows of a shard while it is being explained."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, row: Mapping[str, Any], stage: str, error: str) -> None:
        """An image that could not be explained."""
        self.failures.append(
            {"image_id": row["image_id"], "uri": row["uri"], "stage": stage, "error": error, "attempts": 1}
        )

    def add(self, others: "Rows") -> None:
        """Those of another batch."""
        self.scores += others.scores
        self.maps += others.maps
        self.failures += others.failures


@dataclass(frozen=True)
class ExplainedBatch:
    """Some images of a shard, their targets, and the maps of these.

    Attributes:
        rows: of the images, in the schema of the decoded shard.
        prediction: of the images.
        chosen: the targets of each image.
        explanations: each method's maps.
        of_shifted: the same in the images moved a little; empty where no metric asks.
    """

    rows: Sequence[Mapping[str, Any]]
    prediction: Prediction
    chosen: Sequence[Sequence[ChosenTarget]]
    explanations: Explanations
    of_shifted: Mapping[Shift, Explanations]


_Place = tuple[int, int, MethodName]  # image in the batch, target of the image, method


class Scorer:
    """The metrics of maps, and the rows of the tables that hold them.

    Args:
        config: the audit's settings.
        model: what is explained.
        classes: its classes, as the dataset names them.
        explainer: scores masked images.
        preprocess: gives the colours that hide pixels.
    """

    def __init__(
        self,
        config: AuditConfig,
        model: LoadedModel,
        classes: ClassNames,
        explainer: Explainer,
        preprocess: Preprocess,
    ) -> None:
        self._config = config
        self._classes = classes
        self._confidence = model.confidence
        self._map_shape = model.map_shape
        self._size = (model.recipe.size, model.recipe.size)
        self._explainer = explainer
        self._fill = preprocess.baseline(BaselineImage.parse(config.fill))
        self._start = preprocess.baseline(BaselineImage.parse(config.insertion_start))

    def add(self, tables: Rows, batch: ExplainedBatch) -> None:
        """Add a row for each image × target × method of a batch, as many at a time as a forward pass holds."""
        places: list[_Place] = [
            (b, k, method)
            for b, of_image in enumerate(batch.chosen)
            for k in range(len(of_image))
            for method in batch.explanations
        ]
        for begin in range(0, len(places), self._explainer.batch_size):
            self._add(tables, batch, places[begin : begin + self._explainer.batch_size])

    def _add(self, tables: Rows, batch: ExplainedBatch, places: Sequence[_Place]) -> None:
        prediction, explanations = batch.prediction, batch.explanations
        columns = {name: column.tolist() for name, column in self._measured(batch, places).items()}
        predicted = prediction.logits.argmax(1).tolist()
        nodes = {name: _values(found.nodes, found.maps.shape[:2]) for name, found in explanations.items()}
        carried = carried_names(list(batch.rows[0].get(CARRIED) or ()))
        errors = {name: _values(found.error, found.maps.shape[:2]) for name, found in explanations.items()}
        for index, (b, k, method) in enumerate(places):
            row, target = batch.rows[b], batch.chosen[b][k]
            measured = {name: _nullable(column[index]) for name, column in columns.items()}
            tables.scores.append(
                {name: row[name] for name in ("image_id", "uri", "width", "height")}
                | {
                    "label": ", ".join(row["labels"]) if row["labels"] else None,
                    "predicted": predicted[b],
                    "predicted_name": self._classes.name(predicted[b]),
                    "target": target.index,
                    "target_name": self._classes.name(target.index),
                    "target_source": target.source,
                    "method": method,
                    "nodes": nodes[method][b][k],
                    "error_estimate": errors[method][b][k],
                }
                | {carried[name]: value for name, value in (row.get(CARRIED) or {}).items()}
                | measured
            )
        tables.maps += list(_of_places(explanations, places, self._as_stored).cpu().numpy())

    def _measured(self, batch: ExplainedBatch, places: Sequence[_Place]) -> dict[str, Tensor]:
        """The columns of numbers: metrics, score and confidence."""
        metrics, prediction = self._config.metric, batch.prediction
        device = prediction.images.device
        targets = [batch.chosen[b][k] for b, k, _ in places]
        where = torch.tensor([b for b, _, _ in places], device=device)
        classes = torch.tensor([target.index for target in targets], device=device)
        images = prediction.images[where]
        before = confidences(prediction.logits, self._confidence)[where, classes]
        start = baseline_images(self._start, images).expand_as(images) if "insertion" in metrics else None
        explained = Explained(
            maps=self._upsampled(batch.explanations, places),
            images=images,
            classes=classes,
            confidences=before,
            objects=self._objects(batch, places, device),
            fill=baseline_images(self._fill, images).expand_as(images),
            insertion_start=start,
            of_shifted={by: self._upsampled(found, places) for by, found in batch.of_shifted.items()},
        )
        settings = MetricSettings(
            self._config.kept_share,
            self._config.pointing_tolerance,
            self._config.curve_steps,
            self._explainer.batch_size,
        )
        measured = evaluate(metrics, explained, self._explainer.confidence, settings)
        return measured | {"score": prediction.scores[where, classes], "confidence": before}

    def _upsampled(self, explanations: Explanations, places: Sequence[_Place]) -> Tensor:
        """(n, H, W): some maps at the input's size."""
        return _of_places(explanations, places, lambda maps: upsample(maps, self._size))

    def _as_stored(self, maps: Tensor) -> Tensor:
        """Maps (n, ·, ·) at the shape of the table: those by pixels, averaged over the area of each cell."""
        if maps.shape[1:] == self._map_shape:
            return maps
        return F.adaptive_avg_pool2d(maps.unsqueeze(1), self._map_shape).squeeze(1)

    def _objects(self, batch: ExplainedBatch, places: Sequence[_Place], device: torch.device) -> Tensor:
        """(n, H, W) bool: where the targets are, each drawn once for all methods; nowhere, if no metric asks."""
        drawn: dict[tuple[int, int], int] = {}
        order = [drawn.setdefault((b, k), len(drawn)) for b, k, _ in places]
        objects = torch.zeros(len(drawn), *self._size, dtype=torch.bool, device=device)
        if not LOCALISATION.isdisjoint(self._config.metric):
            found = {index: self._drawn(batch.rows[b], batch.chosen[b][k]) for (b, k), index in drawn.items()}
            there = {index: where for index, where in found.items() if where is not None}
            if there:
                objects[list(there)] = torch.stack(list(there.values())).to(device)
        return objects if len(order) == len(drawn) else objects[order]

    def _drawn(self, row: Mapping[str, Any], target: ChosenTarget) -> Tensor | None:
        """Where the target's boxes or outlines are, in the model's input: (H, W) bool; None where it has none."""
        column = "masks" if self._config.objects == "masks" else "boxes"
        where: Tensor | None = None
        for found in row[column] or ():
            if self._classes.index(found["label"]) == target.index:
                if column == "masks":
                    one = torch.from_numpy(unpack(found["bits"], self._size))
                else:
                    one = box_mask([[found[side] for side in SIDES]], self._size)
                where = one if where is None else where | one
        return where


def _of_places(explanations: Explanations, places: Sequence[_Place], bring: Callable[[Tensor], Tensor]) -> Tensor:
    """(n, ...): what `bring` makes of the maps at some places, each method's brought together."""
    brought: list[Tensor] = []
    order: list[int] = []
    for method, found in explanations.items():
        own = [index for index, (_, _, of) in enumerate(places) if of == method]
        if own:
            images, targets = zip(*(places[index][:2] for index in own), strict=True)
            brought.append(bring(found.maps[list(images), list(targets)]))
            order += own
    return torch.cat(brought)[np.argsort(order).tolist()]


def _values(of_maps: Tensor | None, shape: torch.Size) -> list[list[float | None]]:
    """(B, K) as lists, None throughout where a method has none."""
    return np.full(shape, None).tolist() if of_maps is None else of_maps.tolist()


def _nullable(value: float) -> float | None:
    return None if value != value else value
