"""The work on Ray Data: a row is a shard; decoding is a task on CPUs, explanation an actor that is pinned to a GPU."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayError, RayTaskError, UserCodeException

from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.decoding import decode_shard
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.replica import ExplainShards, Replica
from igcam_batch.audit.work import Work
from igcam_batch.worker.explain import Outcome


def execute(work: Work, replicas: Replicas, shards: Sequence[int]) -> Iterator[tuple[Outcome, Replica]]:
    """Run the shards on the cluster; yields each as its tables are committed, in whatever order that happens.

    Ray retries what dies with its process. An exception in a process ends the run, with what is committed kept.

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
    dataset = (
        ray.data.from_items([{"id": shard} for shard in shards], override_num_blocks=len(shards))
        .map(cast(Any, decode_shard), fn_kwargs={"work": work}, num_cpus=replicas.decode_cpus)
        .map(
            cast(Any, ExplainShards),
            fn_constructor_kwargs={"work": work, "gpus": replicas.gpus, "threads": replicas.threads},
            compute=pool,
            num_cpus=replicas.cpus,
            num_gpus=replicas.gpus or None,
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
        cause: BaseException = error
        while isinstance(cause, RayTaskError | UserCodeException):
            inner = getattr(cause, "cause", None) or cause.__cause__
            if inner is None:
                break
            cause = inner
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [""]
        raise IncompleteError(f"a worker failed with {type(cause).__name__}: {lines[-1]}") from error


def _quiet() -> None:
    """Leave the terminal to our own progress; Ray Data's log files keep everything."""
    context = DataContext.get_current()
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
