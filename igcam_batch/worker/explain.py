"""The model on one device: decoded shards in, committed tables out."""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from igcam_batch.attribution.baselines import baseline_images
from igcam_batch.attribution.explainer import Explainer, Explanation, Prediction
from igcam_batch.attribution.fusion import fold_batch_norms
from igcam_batch.attribution.network import DTYPES, confidences
from igcam_batch.attribution.precision import prepare_for_half_precision
from igcam_batch.attribution.quadrature import RULES, Adaptive
from igcam_batch.attribution.upsample import upsample
from igcam_batch.config import AuditConfig, BaselineImage
from igcam_batch.metrics.evaluate import Explained, MetricSettings, evaluate
from igcam_batch.metrics.localisation import box_mask
from igcam_batch.metrics.stability import Shift, shifted, shifts
from igcam_batch.models import load_model
from igcam_batch.names import MethodName
from igcam_batch.sources import CARRIED
from igcam_batch.storage import open_store
from igcam_batch.tables import (
    FAILURES,
    carried_name,
    commit_shard,
    heatmap_array,
    heatmaps_schema,
    is_committed,
    read_commit,
    scores_schema,
)
from igcam_batch.worker.batch_size import automatic_batch_size
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.masks import unpack
from igcam_batch.worker.preprocess import Preprocess
from igcam_batch.worker.targets import ChosenTarget, NoTargetError, choose_targets, pad_targets

logger = logging.getLogger(__name__)

Explanations = Mapping[MethodName, Explanation]


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Attributes:
        shard: its number in the plan.
        images: images planned in it.
        failed: how many of them could not be explained.
        rows: rows of its score table.
        seconds: spent on the device.
    """

    shard: int
    images: int
    failed: int
    rows: int
    seconds: float


@dataclass
class _Tables:
    """The rows of a shard while it is being explained."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, row: Mapping[str, Any], stage: str, error: str) -> None:
        self.failures.append(
            {"image_id": row["image_id"], "uri": row["uri"], "stage": stage, "error": error, "attempts": 1}
        )


class ShardExplainer:
    """One replica of the model.

    Args:
        config: the audit's settings.
        device: where it runs, as `cuda:0` or `cpu`.
        labels: every label of the dataset, for a model without class names of its own.
        sha256: of the weights the driver planned with; None: any.
        share: of the device that is this replica's own, at most 1.

    Raises:
        InputError: the model cannot be loaded here.
        RuntimeError: its weights are not the driver's.
    """

    def __init__(
        self,
        config: AuditConfig,
        device: str,
        labels: Sequence[str] = (),
        sha256: str | None = None,
        share: float = 1.0,
    ) -> None:
        self._config = config
        self._device = torch.device(device)
        self._in_use = threading.Lock()
        if self._device.type == "cpu" and config.precision == "fp16":
            logger.warning("--precision fp16 is many times slower than fp32 on a CPU; bf16 is faster")
        self._store = open_store(config.output)
        model = load_model(config)
        if sha256 is not None and model.sha256 != sha256:
            raise RuntimeError(
                f"{config.model} has other weights here (sha256 {model.sha256[:12]}) than where the audit was planned "
                f"({sha256[:12]}): put the same checkpoint on every node, and seed a factory that draws its weights"
            )
        self._classes = model.classes.with_directory_order(labels)
        self._confidence = model.confidence
        self._map_shape = model.map_shape
        self._size = (model.recipe.size, model.recipe.size)
        self._preprocess = Preprocess(model.recipe, self._device)
        self._fill = self._preprocess.baseline(BaselineImage.parse(config.fill))
        self._insertion_start = self._preprocess.baseline(BaselineImage.parse(config.insertion_start))
        probe = torch.randn(1, 3, *self._size, generator=torch.Generator().manual_seed(0))
        fold_batch_norms(model.module, model.layer, probe)
        if config.precision != "fp32":
            prepare_for_half_precision(model.module, DTYPES[config.precision])
        self._explainer = Explainer(
            model.module.to(self._device).to(memory_format=torch.channels_last),
            model.layer,
            methods=config.method,
            along=RULES[config.rule](config.steps) if config.tolerance is None else Adaptive(config.tolerance),
            baselines=[self._preprocess.baseline(baseline) for baseline in config.baselines],
            score=config.score,
            confidence=model.confidence,
            batch_size=config.batch_size or 1,
            precision=config.precision,
        )
        if config.batch_size is None:
            targets = min(config.targets.at_most, self._classes.count)
            self._explainer.batch_size = automatic_batch_size(
                self._explainer, (3, *self._size), targets, self._device, share
            )
            logger.info("batch size %d", self._explainer.batch_size)

    def __call__(self, decoded: DecodedShard) -> Outcome:
        """Explain the images of a shard and commit its tables; a shard that is committed already stays as it is.

        May be called from several threads: one has the device, while others commit or wait.
        """
        if is_committed(self._store, decoded.shard):
            found = read_commit(self._store, decoded.shard)
            return Outcome(decoded.shard, found.images, found.failed, found.rows, 0.0)
        with self._in_use:
            started = time.perf_counter()
            tables = self._explain(decoded)
            seconds = time.perf_counter() - started
        failures = pa.concat_tables([decoded.failures, pa.Table.from_pylist(tables.failures, schema=FAILURES)])
        scores = pa.Table.from_pylist(tables.scores, schema=scores_schema(decoded.images.schema, self._config.metric))
        images = len(decoded.images) + len(decoded.failures)
        commit_shard(self._store, decoded.shard, scores, self._heatmaps(tables), failures, images)
        return Outcome(decoded.shard, images, len(failures), len(scores), seconds)

    def _explain(self, decoded: DecodedShard) -> _Tables:
        """Batch by batch; where memory does not suffice, in smaller batches from there on."""
        tables = _Tables()
        rows = decoded.images.to_pylist()
        start = 0
        while start < len(rows):
            batch = slice(start, start + self._explainer.batch_size)
            try:
                part = self._explain_batch(decoded.pixels[batch], rows[batch])
            except torch.OutOfMemoryError:
                if self._explainer.batch_size == 1:
                    tables.fail(rows[start], "explain", "one image and one step do not fit into the device's memory")
                    start += 1
                else:
                    self._explainer.batch_size //= 2
                    logger.warning("out of memory: going on with --batch-size %d", self._explainer.batch_size)
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            tables.scores += part.scores
            tables.maps += part.maps
            tables.failures += part.failures
            start = batch.stop
        return tables

    def _explain_batch(self, pixels: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> _Tables:
        tables = _Tables()
        images = self._preprocess(pixels)
        prediction = self._explainer.predict(images)
        chosen = [self._targets(tables, row, logits) for row, logits in zip(rows, prediction.logits, strict=True)]
        if not any(chosen):
            return tables
        targets = pad_targets(chosen).to(self._device)
        explained = self._explainer.explain(prediction, targets)
        of_shifted = self._explain_shifted(images, targets)
        highest = torch.stack([found.maps.flatten(1).amax(1) for found in explained.values()]).amax(0).tolist()
        for b, row in enumerate(rows):
            if chosen[b] and not math.isfinite(highest[b]):
                tables.fail(row, "explain", self._not_finite("map"))
                chosen[b] = []
            elif self._config.heatmap_dtype == "float16" and highest[b] > torch.finfo(torch.float16).max:
                tables.fail(
                    row, "explain", f"a map reaches {highest[b]:g}, beyond float16; --heatmap-dtype float32 holds it"
                )
                chosen[b] = []
        rows_of = [
            (b, k, method) for b, of_image in enumerate(chosen) for k in range(len(of_image)) for method in explained
        ]
        for begin in range(0, len(rows_of), self._explainer.batch_size):
            some = rows_of[begin : begin + self._explainer.batch_size]
            self._score(tables, rows, prediction, chosen, explained, of_shifted, some)
        return tables

    def _explain_shifted(self, images: Tensor, targets: Tensor) -> dict[Shift, Explanations]:
        """What the same targets' maps are in the images moved a little, where a metric asks."""
        if "sensitivity" not in self._config.metric:
            return {}
        moved = {by: self._explainer.predict(shifted(images, by)) for by in shifts(self._config.shift)}
        return {by: self._explainer.explain(prediction, targets) for by, prediction in moved.items()}

    def _targets(self, tables: _Tables, row: Mapping[str, Any], logits: Tensor) -> list[ChosenTarget]:
        """The targets of an image; none, and a failure, where there are none to be had."""
        if not logits.isfinite().all():
            tables.fail(row, "explain", self._not_finite("score"))
            return []
        try:
            return choose_targets(self._config.targets, logits, row["labels"] or (), self._classes)
        except NoTargetError as error:
            tables.fail(row, "target", str(error))
            return []

    def _not_finite(self, what: str) -> str:
        remedy = "; --precision fp32 has a wider range" if self._config.precision == "fp16" else ""
        return f"the model gives a {what} that is NaN or infinite{remedy}"

    def _score(
        self,
        tables: _Tables,
        rows: Sequence[Mapping[str, Any]],
        prediction: Prediction,
        chosen: Sequence[Sequence[ChosenTarget]],
        explanations: Explanations,
        of_shifted: Mapping[Shift, Explanations],
        rows_of: Sequence[tuple[int, int, MethodName]],
    ) -> None:
        """Add the rows for `rows_of`, each (image in the batch, target of the image, method), with their metrics."""
        targets = [chosen[b][k] for b, k, _ in rows_of]
        where = torch.tensor([b for b, _, _ in rows_of], device=self._device)
        classes = torch.tensor([target.index for target in targets], device=self._device)
        maps = [explanations[method].maps[b, k] for b, k, method in rows_of]
        images = prediction.images[where]
        before = confidences(prediction.logits, self._confidence)[where, classes]
        explained = Explained(
            maps=self._upsampled(explanations, rows_of),
            images=images,
            classes=classes,
            confidences=before,
            objects=torch.stack([self._objects(rows[b], chosen[b][k]) for b, k, _ in rows_of]).to(self._device),
            fill=baseline_images(self._fill, images).expand_as(images),
            insertion_start=baseline_images(self._insertion_start, images).expand_as(images),
            of_shifted={by: self._upsampled(found, rows_of) for by, found in of_shifted.items()},
        )
        settings = MetricSettings(
            self._config.kept_share,
            self._config.pointing_tolerance,
            self._config.curve_steps,
            self._explainer.batch_size,
        )
        values = evaluate(self._config.metric, explained, self._explainer.confidence, settings)
        values |= {"score": prediction.scores.detach()[where, classes], "confidence": before}
        columns = {name: column.tolist() for name, column in values.items()}
        predicted = prediction.logits.argmax(1).tolist()
        nodes = {name: _values(found.nodes, found.maps.shape[:2]) for name, found in explanations.items()}
        errors = {name: _values(found.error, found.maps.shape[:2]) for name, found in explanations.items()}
        for index, ((b, k, method), target) in enumerate(zip(rows_of, targets, strict=True)):
            row = rows[b]
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
                | {carried_name(name): value for name, value in (row.get(CARRIED) or {}).items()}
                | measured
            )
        tables.maps += list(torch.stack([self._as_stored(of_row) for of_row in maps]).cpu().numpy())

    def _upsampled(self, explanations: Explanations, rows_of: Sequence[tuple[int, int, MethodName]]) -> Tensor:
        """(n, H, W): the maps of some rows at the input's size."""
        maps = [explanations[method].maps[b, k].unsqueeze(0) for b, k, method in rows_of]
        return torch.cat([upsample(of_row, self._size) for of_row in maps])

    def _as_stored(self, of_row: Tensor) -> Tensor:
        """A map at the shape of the table: a map by pixels, averaged over the area of each cell."""
        if of_row.shape == self._map_shape:
            return of_row
        return F.adaptive_avg_pool2d(of_row[None, None], self._map_shape)[0, 0]

    def _objects(self, row: Mapping[str, Any], target: ChosenTarget) -> Tensor:
        """(H, W) bool: the union of the target's objects, by their boxes or their outlines, in the model's input."""
        if self._config.objects == "masks":
            outlines = [
                unpack(mask["bits"], self._size)
                for mask in row["masks"] or ()
                if self._classes.index(mask["label"]) == target.index
            ]
            return torch.from_numpy(np.any(outlines, axis=0) if outlines else np.zeros(self._size, dtype=bool))
        boxes = [
            (box["left"], box["top"], box["right"], box["bottom"])
            for box in row["boxes"] or ()
            if self._classes.index(box["label"]) == target.index
        ]
        return box_mask(boxes, self._size)

    def _heatmaps(self, tables: _Tables) -> pa.Table:
        maps = np.stack(tables.maps) if tables.maps else np.empty((0, *self._map_shape), dtype=np.float32)
        schema = heatmaps_schema(self._map_shape, self._config.heatmap_dtype)
        keys = [[row[name] for row in tables.scores] for name in ("image_id", "target", "method")]
        return pa.Table.from_arrays([*keys, heatmap_array(maps, self._config.heatmap_dtype)], schema=schema)


def _values(of_maps: Tensor | None, shape: torch.Size) -> list[list[float | None]]:
    """(B, K) as lists, None throughout where a method has none."""
    return np.full(shape, None).tolist() if of_maps is None else of_maps.tolist()


def _nullable(value: float) -> float | None:
    return None if value != value else value
