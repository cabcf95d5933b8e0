"""The work on Ray Data: a row is a piece; decoding is a task on CPUs, explanation an actor that is pinned to a GPU."""

import gc
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from igcam_batch.audit.cluster import Replicas, that_fit
from igcam_batch.audit.decoding import decode_shards
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.lacking import lacking
from igcam_batch.audit.ray_errors import end_of_process, first_raised, on_its_node
from igcam_batch.audit.replica import ExplainShards, Report
from igcam_batch.audit.watch import Moment, Watch, watching
from igcam_batch.audit.work import Work
from igcam_batch.tables import Piece

_IN_STARTING = "raised in its creation task"
_OF_A_DEVICE = re.compile(  # of which there may be others
    "CUDA|cuDNN|CUBLAS|out of memory|unable to find an engine|has no such arithmetic"
)
_STARTS = 3  # that fail, for each replica, with none that works in between: then the run ends
_MOST_ROWS = 4096  # that wait for decoding; so that each task has some pieces where there are more of them
_DECODE_RETRIES = 1  # where its process dies; also how often what a lost node held is decoded anew


def execute(
    work: Work,
    replicas: Replicas,
    watch: Watch,
    pieces: Sequence[Piece],
    alone: bool,
    died: Callable[[str], None],
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[Report]:
    """Run pieces on the cluster; yields a report of each as its tables are put, in whatever order that happens.

    Ray starts a process that died again, where there is room, and others go on meanwhile. Of the pieces that it had
    there is no report: they do not wait for it, as a node that is lost may never come back. One that cannot even start,
    as its GPU is broken, is tried again as long as others run.

    Args:
        work: what every process is told.
        replicas: what the model runs on; as many of them as there is room and work for.
        watch: told at every moment how the run stands; says whether replicas are to get more.
        pieces: what to do.
        alone: whether a process has one piece at a time, so that no other goes down with it. Else it has two: while
            one commits its tables, the next, already there, has the device.
        died: told how the process ended of a piece without a report, as Ray says it.
        tell: told of the first replica that could not start.

    Raises:
        IncompleteError: Ray Data ends with an error, as where no replica can be started, or a node lacks a package.
        Exception: whatever `watch` raises.
    """
    replicas = that_fit(replicas, len(pieces))
    ended: list[IncompleteError] = []  # by what no other process would do better
    in_vain: list[str] = []  # a line for each start since one worked
    told = False

    def look(now: Moment) -> bool:
        if ended:
            raise ended[0]
        if now.works:
            in_vain.clear()
        elif len(in_vain) >= _STARTS * replicas.least:
            raise IncompleteError(in_vain[-1])
        return watch(now)

    def failed(error: BaseException) -> None:
        if lack := lacking(error):
            ended.append(lack)
        else:
            died(end_of_process(error))

    def not_started(error: BaseException) -> None:
        reason = first_raised(error) if _IN_STARTING in str(error) else ""
        if reason and not _OF_A_DEVICE.search(reason):
            ended.append(_as_ours(error))
            return
        reason, where = reason or end_of_process(error), on_its_node(error)
        in_vain.append(f"a worker failed{where}: {reason}")
        nonlocal told
        if not told:
            told = True
            tell(f"a worker could not start{where}, and another is tried: {reason}")

    try:
        with watching(look), _listening(failed, not_started), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.data")  # of replicas that had nothing to do
            warnings.filterwarnings("ignore", category=RayDeprecationWarning)  # of the way to max_task_retries
            yield from _executed(work, replicas, pieces, alone)
        if ended:  # with the last step
            raise ended[0]
    finally:
        # Ray Data leaves handles of replicas in cycles, and one whose process died last is started again for those:
        # until they are found, which takes minutes in a driver that waits, it has what the next replicas wait for.
        gc.collect()


def _executed(work: Work, replicas: Replicas, pieces: Sequence[Piece], alone: bool) -> Iterator[Report]:
    rows = list(_rows_of(pieces, None if alone else _MOST_ROWS))
    pool = ActorPoolStrategy(
        min_size=replicas.least,
        max_size=replicas.most,
        max_tasks_in_flight_per_actor=1 if alone else None,
        max_concurrent_calls_per_actor=1 if alone else 2,
        enable_true_multi_threading=True,
    )
    with _own_settings():
        dataset = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .flat_map(
                cast(Any, decode_shards),
                fn_kwargs={"work": work},
                compute=TaskPoolStrategy(replicas.decoders),
                num_cpus=replicas.decode_cpus,
                max_retries=_DECODE_RETRIES,
            )
            .map(
                cast(Any, ExplainShards),
                fn_constructor_kwargs={"work": work, "gpus": replicas.gpus, "threads": replicas.threads},
                compute=pool,
                num_cpus=replicas.cpus,
                num_gpus=replicas.gpus or None,
                max_task_retries=0,
            )
        )
    yield from map(Report.from_row, _reports(dataset))


def _rows_of(pieces: Sequence[Piece], most: int | None) -> Iterator[dict[str, Any]]:
    """Ray Data's first rows: of a few pieces each where they are many, as Ray keeps every row until the end."""
    of_each = 1 if most is None else -(-len(pieces) // most)
    for start in range(0, len(pieces), of_each):
        yield {"pieces": [asdict(piece) for piece in pieces[start : start + of_each]]}


def _reports(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The rows of a dataset; IncompleteError with the first line of what ended it."""
    try:
        # None is fetched ahead: a report would wait for the next one, which is as far away as a shard takes.
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from cast(pa.Table, block).to_pylist()
    except RayError as error:
        raise _as_ours(error) from None


def _as_ours(error: BaseException) -> IncompleteError:
    return lacking(error) or IncompleteError(f"a worker failed{on_its_node(error)}: {first_raised(error)}")


@contextmanager
def _own_settings() -> Iterator[None]:
    """Ray Data's, for a dataset of ours; it leaves the terminal to our progress, and its log files keep everything."""
    theirs = DataContext.get_current()
    context = theirs.copy()
    context.target_max_block_size = 1  # a block for each row, so that a shard is explained as soon as it is decoded
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a piece whose process died is missing, and is found to be
    context.max_consecutive_actor_init_deaths = -1  # of one GPU that is broken the others need not die
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
    DataContext._set_current(context)
    try:
        yield
    finally:
        DataContext._set_current(theirs)


@contextmanager
def _listening(failed: Callable[[BaseException], None], not_started: Callable[[BaseException], None]) -> Iterator[None]:
    """Hear of the blocks that Ray Data leaves out and of the replicas that do not start, and why: it tells its log."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error, said = record.exc_info and record.exc_info[1], record.getMessage()
            if error and "max_errored_blocks" in said:
                failed(error)
            elif error and "died during initialization" in said:
                not_started(error)

    ear, log = Ear(logging.WARNING), logging.getLogger("ray.data")
    log.addHandler(ear)
    try:
        yield
    finally:
        log.removeHandler(ear)
