"""The model on one device: decoded shards in, committed tables out."""

import errno
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.memory import is_out_of_memory
from igcam_batch.attribution.quadrature import RULES, Adaptive
from igcam_batch.attribution.ready import make_ready
from igcam_batch.config import AuditConfig
from igcam_batch.errors import one_line_with_kind
from igcam_batch.metrics.stability import Shift, shifted, shifts
from igcam_batch.models import load_model
from igcam_batch.storage import open_store
from igcam_batch.tables import (
    CONTROL,
    FAILURES,
    commit_shard,
    heatmap_array,
    heatmaps_schema,
    is_committed,
    is_staged,
    read_commit,
    scores_schema,
    stage_piece,
)
from igcam_batch.tables.plan import plan_file
from igcam_batch.worker.batch_size import BatchSize, automatic_batch_size
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.device import check_precision, crowd, give_back, is_lost, keep_to_share, settle_arithmetic
from igcam_batch.worker.outcome import Outcome
from igcam_batch.worker.preprocess import Preprocess
from igcam_batch.worker.scoring import ExplainedBatch, Explanations, Rows, Scorer
from igcam_batch.worker.targets import ChosenTarget, NoTargetError, choose_targets, pad_targets

logger = logging.getLogger(__name__)
_LOOKS, _BETWEEN_LOOKS = 4, 15.0  # at memory that others have, and seconds


@dataclass(frozen=True)
class ShardTables:
    """What some images came to.

    Attributes:
        scores, heatmaps, failures: the tables.
        seconds: in which the device was busy with them.
    """

    scores: pa.Table
    heatmaps: pa.Table
    failures: pa.Table
    seconds: float


class ShardExplainer:
    """One replica of the model.

    One thread of its own does all the arithmetic, whichever thread asks. GNU's OpenMP keeps a team for each thread
    that computes, and where these are more than the CPUs, it puts them to sleep between any two operations: a CNN on
    two cores is slower by a sixth.

    Args:
        config: the audit's settings.
        device: where it runs, as `cuda:0` or `cpu`.
        plan: directory of the frozen plan in OUTPUT, where pieces are put aside.
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
        plan: str,
        labels: Sequence[str] = (),
        sha256: str | None = None,
        share: float = 1.0,
    ) -> None:
        self._config = config
        self._device = torch.device(device)
        self._plan, self._share = plan, share
        if self._device.type == "cpu" and config.precision == "fp16":
            logger.warning("--precision fp16 is many times slower than fp32 on a CPU; bf16 is faster")
        self._store = open_store(config.output)
        threads = torch.get_num_threads()
        self._device_thread = ThreadPoolExecutor(1, "device", initializer=partial(torch.set_num_threads, threads))
        self._device_thread.submit(self._load, labels, sha256).result()

    def __call__(self, decoded: DecodedShard) -> Outcome:
        """Explain the images of a shard and commit its tables, or put those of a piece aside.

        What is committed, or there, already stays as it is. May be called from several threads: one has the device,
        while others commit or wait.
        """
        piece = decoded.piece
        if piece.whole and is_committed(self._store, piece.shard):
            found = read_commit(self._store, piece.shard)
            return Outcome(piece, found.failed, found.rows, 0.0)
        if not piece.whole and is_staged(self._store, self._plan, piece):
            return Outcome(piece, 0, 0, 0.0)
        tables = self.tables(decoded)
        failures = tables.failures
        self._check_plan()
        if piece.whole:
            commit_shard(self._store, piece.shard, tables.scores, tables.heatmaps, failures, piece.images)
        elif piece.revision != CONTROL:
            stage_piece(self._store, self._plan, piece, tables.scores, tables.heatmaps, failures)
        reason = failures["error"][0].as_py() if len(failures) else ""
        return Outcome(piece, len(failures), len(tables.scores), tables.seconds, reason)

    @property
    def batch_size(self) -> int:
        """Images that it explains at a time, at most."""
        return self._batch_size.most

    def tables(self, decoded: DecodedShard) -> ShardTables:
        """The tables of some images, which are put nowhere."""
        rows, seconds = self._device_thread.submit(self._timed, decoded).result()
        return ShardTables(
            pa.Table.from_pylist(rows.scores, schema=scores_schema(decoded.images.schema, self._config.metric)),
            self._heatmaps(rows),
            pa.concat_tables([decoded.failures, pa.Table.from_pylist(rows.failures, schema=FAILURES)]),
            seconds,
        )

    def _check_plan(self) -> None:
        """OSError where the run is no more: OUTPUT went away, or another run has replaced this one meanwhile."""
        if not self._store.exists(plan_file(self._plan, 0)):
            raise FileNotFoundError(
                errno.ENOENT, "the run's plan is gone, with OUTPUT or as another run replaced it", self._store.root
            )

    def _load(self, labels: Sequence[str], sha256: str | None) -> None:
        """The model, ready on its device."""
        config = self._config
        check_precision(self._device, config.precision)
        keep_to_share(self._device, self._share)
        model = load_model(config)
        settle_arithmetic(self._device, config.precision)
        if sha256 is not None and model.sha256 != sha256:
            raise RuntimeError(
                f"{config.model} has other weights here (sha256 {model.sha256[:12]}) than where the audit was planned "
                f"({sha256[:12]}): put the same checkpoint on every node, and seed a factory that draws its weights"
            )
        self._classes = model.classes.with_directory_order(labels)
        self._map_shape = model.map_shape
        self._size = (model.recipe.size, model.recipe.size)
        self._preprocess = Preprocess(model.recipe, self._device)
        probe = torch.randn(1, 3, *self._size, generator=torch.Generator().manual_seed(0), device="cpu")
        self._explainer = Explainer(
            make_ready(model.module, model.layer, probe, self._device, config.precision),
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
                self._explainer, (3, *self._size), targets, self._device, self._share
            )
            logger.info("batch size %d", self._explainer.batch_size)
        self._batch_size = BatchSize(self._explainer.batch_size)
        self._scorer = Scorer(config, model, self._classes, self._explainer, self._preprocess)

    def _timed(self, decoded: DecodedShard) -> tuple[Rows, float]:
        """What some images came to, and the seconds that took. Where the device is lost, this process ends."""
        started = time.perf_counter()
        try:
            return self._explain(decoded), time.perf_counter() - started
        except RuntimeError as error:
            self._end_if_lost(error)
            raise

    def _explain(self, decoded: DecodedShard) -> Rows:
        """Batch by batch; where memory does not suffice, in smaller batches, and after some shards in larger ones.

        The images of a batch that raises an exception are explained again one by one, so that it costs its cause alone.
        """
        self._explainer.batch_size = self._batch_size.begin_shard()
        tables = Rows()
        rows = decoded.images.to_pylist()
        start = 0
        one_by_one = 0  # up to which row
        while start < len(rows):
            batch = slice(start, start + (1 if start < one_by_one else self._explainer.batch_size))
            part, said, short = None, "", False
            try:
                part = self._explain_batch(decoded.pixels[batch], rows[batch])
            except Exception as error:  # a user's model may raise anything
                self._end_if_lost(error)  # first, as libraries may take that for a lack of memory
                said, short = one_line_with_kind(error), is_out_of_memory(error)
            if part is not None:
                tables.add(part)
                start = batch.stop
            elif short and self._explainer.batch_size > 1:
                self._explainer.batch_size = self._batch_size.halve()
                logger.warning("out of memory: going on with --batch-size %d", self._explainer.batch_size)
                give_back(self._device)  # here, where what failed lives no more
            elif not short and len(rows[batch]) > 1:
                one_by_one = min(batch.stop, len(rows))
            elif not (short and self._memory_came_back()):
                too_large = f"one image and one step do not fit into the device's memory ({said})"
                tables.fail(rows[start], "explain", too_large if short else said)
                start += 1
        return tables

    def _end_if_lost(self, error: Exception) -> None:
        """End this process where each further call to the device would fail, too; another takes the shard."""
        if is_lost(self._device, error):
            logger.critical("%s; this process ends, and another takes the shard", one_line_with_kind(error))
            os._exit(1)

    def _memory_came_back(self) -> bool:
        """Wait for what others have of the device's memory; False where it is this process's alone, or its share is.

        Here, as a worker that gave the shard back at once would take the next one, which others could explain.

        Raises:
            OSError: they keep it.
        """
        give_back(self._device)
        others = crowd(self._device, self._share)
        if not others:
            return False
        for _ in range(_LOOKS):
            time.sleep(_BETWEEN_LOOKS)
            if not (others := crowd(self._device, self._share)):
                self._explainer.batch_size = self._batch_size.restore()
                return True
        self._batch_size.restore()
        raise OSError(errno.ENOMEM, f"out of memory, as {others}", str(self._device))

    def _explain_batch(self, pixels: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> Rows:
        tables = Rows()
        images = self._preprocess(pixels)
        prediction = self._explainer.predict(images)
        logits = prediction.logits.cpu()
        finite = logits.isfinite().all(1).tolist()
        chosen = [self._targets(tables, *of_image) for of_image in zip(rows, logits, finite, strict=True)]
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
        self._scorer.add(tables, ExplainedBatch(rows, prediction, chosen, explained, of_shifted))
        return tables

    def _explain_shifted(self, images: Tensor, targets: Tensor) -> dict[Shift, Explanations]:
        """What the same targets' maps are in the images moved a little, where a metric asks."""
        if "sensitivity" not in self._config.metric:
            return {}
        return {
            by: self._explainer.explain(self._explainer.predict(shifted(images, by)), targets)
            for by in shifts(self._config.shift)
        }

    def _targets(self, tables: Rows, row: Mapping[str, Any], logits: Tensor, finite: bool) -> list[ChosenTarget]:
        """The targets of an image; none, and a failure, where there are none to be had."""
        if not finite:
            tables.fail(row, "explain", self._not_finite("score"))
            return []
        try:
            return choose_targets(self._config.targets, logits, row["labels"] or (), self._classes)
        except NoTargetError as error:
            tables.fail(row, "target", str(error))
            return []

    def _not_finite(self, what: str) -> str:
        remedy = "; bf16 and tf32 have a wider range" if self._config.precision == "fp16" else ""
        return f"the model gives a {what} that is NaN or infinite{remedy}"

    def _heatmaps(self, tables: Rows) -> pa.Table:
        maps = np.stack(tables.maps) if tables.maps else np.empty((0, *self._map_shape), dtype=np.float32)
        schema = heatmaps_schema(self._map_shape, self._config.heatmap_dtype)
        keys = [[row[name] for row in tables.scores] for name in ("image_id", "target", "method")]
        return pa.Table.from_arrays([*keys, heatmap_array(maps, self._config.heatmap_dtype)], schema=schema)
