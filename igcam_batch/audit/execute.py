"""The work on Ray Data: a row is a shard; decoding is a task on CPUs, explanation an actor that is pinned to a GPU."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayError

from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.decoding import decode_shard
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.replica import ExplainShards, Replica
from igcam_batch.audit.work import Work
from igcam_batch.worker.explain import Outcome

_RETRIES = 3  # of a shard whose process dies


def execute(work: Work, replicas: Replicas, shards: Sequence[int]) -> Iterator[tuple[Outcome, Replica]]:
    """Run the shards on the cluster; yields each as its tables are committed, in whatever order that happens.

    Ray starts a process that died again, and its shard up to three times; after that, and for an exception in a
    process, the run ends, with what is committed kept.

    Args:
        work: what every process is told.
        replicas: what the model runs on.
        shards: numbers of the shards to do.
    """
    _quiet()
    # Two calls at a time: while one commits its tables, the next, already there, has the device.
    pool = ActorPoolStrategy(
        min_size=replicas.least,
        max_size=replicas.most,
        max_concurrent_calls_per_actor=2,
        enable_true_multi_threading=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray has no other place for max_task_retries yet, and will drop this one
        dataset = (
            ray.data.from_items([{"id": shard} for shard in shards], override_num_blocks=len(shards))
            .map(cast(Any, decode_shard), fn_kwargs={"work": work}, num_cpus=replicas.decode_cpus)
            .map(
                cast(Any, ExplainShards),
                fn_constructor_kwargs={"work": work, "gpus": replicas.gpus, "threads": replicas.threads},
                compute=pool,
                num_cpus=replicas.cpus,
                num_gpus=replicas.gpus or None,
                max_task_retries=_RETRIES,
            )
        )
    for row in _rows(dataset):
        outcome = Outcome(*(row[name] for name in ("shard", "images", "failed", "rows", "seconds")))
        yield outcome, Replica(*(row[name] for name in ("node", "pid", "device", "gpu")))


def _rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The rows of a dataset; IncompleteError with the first line of what ended it."""
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        first, _, _ = str(error).partition("The above exception was the direct cause")
        lines = [line.strip() for line in first.splitlines() if line.strip()] or [type(error).__name__]
        raise IncompleteError(f"a worker failed: {lines[-1]}") from None


def _quiet() -> None:
    """Leave the terminal to our own progress; Ray Data's log files keep everything."""
    context = DataContext.get_current()
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
