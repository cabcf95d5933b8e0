"""The job, in the order in which it happens: check, plan, run, reconcile, record."""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

from igcam_batch.audit.arrival import Patience, PatienceForImages
from igcam_batch.audit.checks import absolute, check_model, check_places, check_weights, existing_run
from igcam_batch.audit.cluster import Replicas, connect, plan_replicas
from igcam_batch.audit.crash import put_crash
from igcam_batch.audit.environment import travelling
from igcam_batch.audit.errors import IncompleteError, StoppedError, saying_how_to_go_on, saying_that_nothing_began
from igcam_batch.audit.execute import execute
from igcam_batch.audit.gathering import Gathering
from igcam_batch.audit.metrics import RunMetrics
from igcam_batch.audit.planning import begin
from igcam_batch.audit.progress import Progress, Silent
from igcam_batch.audit.replica import Replica
from igcam_batch.audit.rounds import Done, Rounds
from igcam_batch.audit.stop import ending_at_sigterm, stopping
from igcam_batch.audit.watch import until_stopped
from igcam_batch.audit.work import Work
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, load_model
from igcam_batch.sources import Place, boundary, find_place
from igcam_batch.storage import Store, open_store
from igcam_batch.storage.claim import CLAIM, Claim, this_process
from igcam_batch.tables import Piece, committed_shards, read_commit
from igcam_batch.tables.compact import COMPACT_DIR
from igcam_batch.tables.record import (
    RunRecord,
    now,
    write_record,
)
from igcam_batch.tables.status import Status, count_commits
from igcam_batch.words import plural
from igcam_batch.worker.watchdog import forget_verdicts

_ROW_OF_DEATHS = 8  # of processes for each that can run at once; each has up to four pieces


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        status: images and rows of OUTPUT, of this run and of those it resumed.
        explained: images that this run itself took up.
        failed: how many of those could not be explained.
        seconds: from the call to the last commit.
        computing: seconds from when the first worker had images and the model to the last commit; 0 where none
            explained any.
        output: where the tables are.
    """

    status: Status
    explained: int
    failed: int
    seconds: float
    computing: float
    output: str

    def line(self) -> str:
        """The closing line: images, rows, failures, seconds, images per second, and where the tables are."""
        done = self.status
        tally = ", ".join(
            f"{number} {plural(number, thing)}"
            for number, thing in ((done.planned, "image"), (done.rows, "row"), (done.failed, "failure"))
        )
        if not self.explained:
            return f"{tally}; nothing was left to do; tables in {self.output}"
        resumed = f"; {self.explained} of the images in this run" if self.explained < done.planned else ""
        pace = ""
        if self.computing:
            pace = f", {self.computing:.1f} of them explaining at {self.explained / self.computing:.2f} images/s"
        return f"{tally}{resumed}; {self.seconds:.1f} s{pace}; tables in {self.output}"


def run_audit(config: AuditConfig, progress: Progress | None = None) -> Summary:
    """Explain a dataset: start, or go on with, the run in OUTPUT.

    Args:
        config: the settings.
        progress: told of every step.

    Raises:
        InputError: something asked for cannot be done; OUTPUT is as it was.
        IncompleteError: work was begun and could not be finished.
        StoppedError: it was asked to stop, or its deadline came.
    """
    began, started = time.perf_counter(), now()
    deadline = None if config.deadline is None else time.monotonic() + config.deadline
    progress = progress or Silent()
    config = absolute(config)
    place, output = find_place(config.input, follow_links=config.follow_links), open_store(config.output)
    check_places(place, output)
    with ending_at_sigterm() as end, ExitStack() as stack:
        try:
            claim = stack.enter_context(output.claim(CLAIM, this_process()))
        except OSError as error:  # the first that is written
            raise InputError(f"OUTPUT {output.root}: cannot be written to: {error.strerror or error}") from None
        record = existing_run(config, output)
        with saying_how_to_go_on(anew=False) if record else saying_that_nothing_began():
            run = _begun(config, record, place, output, progress, started, deadline)
        with saying_how_to_go_on(anew=config.overwrite):
            return _explain(config, run, output, progress, claim, began, deadline, end)


@dataclass(frozen=True)
class _Run:
    """A run that has begun.

    Attributes:
        record: of it.
        replicas: that explain what is left; None where nothing is.
        work: what every process of it is told.
    """

    record: RunRecord
    replicas: Replicas | None
    work: Work


def _begun(
    config: AuditConfig,
    record: RunRecord | None,
    place: Place,
    output: Store,
    progress: Progress,
    started: str,
    deadline: float | None,
) -> _Run:
    """Start a run, or take up the one in OUTPUT, which no other driver writes to meanwhile.

    The model is loaded also where nothing is left of that one: other weights, under the name they had, make it another.
    """
    model = load_model(config)
    check_model(config, model)
    replicas = None
    if record is None:
        record, replicas = begin(config, model, place, output, progress, started, deadline)
    else:
        check_weights(record, model, output)
        if Gathering(output, record).has_work(config.retry_failures):
            connect()
            replicas = plan_replicas(config, progress.warned, deadline)
    return _Run(record, replicas, _work(config, model, place, record))


def _explain(
    config: AuditConfig,
    run: _Run,
    output: Store,
    progress: Progress,
    claim: Claim,
    began: float,
    deadline: float | None,
    end: Callable[[], None],
) -> Summary:
    """Explain what is left of a run; `end` is called when nothing is."""
    record, replicas = run.record, run.replicas
    gathering = Gathering(output, record)
    gathering.tidy()
    if replicas is None:
        progress.planned(record.images, record.shards, done=record.images)
        end()
        return _finished(output, record, Done(), began)
    with stopping(output, record.plan, deadline) as stop:
        todo = gathering.unfinished()
        if config.retry_failures:
            forget_verdicts(output, record.plan)
            todo += gathering.failed()
        progress.planned(record.images, record.shards, record.images - sum(piece.images for piece in todo))
        waiting = config.startup_timeout, progress.warned
        patience = Patience(*replicas.need, *waiting), PatienceForImages("CPU", replicas.decode_cpus, *waiting)
        rounds = Rounds(
            partial(execute, run.work, replicas, until_stopped(*patience, stop, progress.warned), tell=progress.warned),
            gathering,
            partial(put_crash, output, record, config),
            progress,
            stop,
            _control(output, gathering),
            claim.lost,
            RunMetrics(output.root, sum(piece.images for piece in todo)),
            row_of_deaths=max(2 * _ROW_OF_DEATHS, _ROW_OF_DEATHS * replicas.most),
        )
        if todo:
            output.delete(COMPACT_DIR)
            progress.started(str(replicas))
        try:
            rounds.run(todo)
        except StoppedError as error:
            status = count_commits(output, record.images)
            _record(output, record, "stopped", status, began, rounds.done.replicas)
            raise StoppedError(f"{error.reason}: {status.remaining} of {status.planned} images remain") from None
        end()
    return _finished(output, record, rounds.done, began)


def _finished(output: Store, record: RunRecord, done: Done, began: float) -> Summary:
    """Record that a run is finished, and say what this command did of it."""
    ended = time.perf_counter()
    status = count_commits(output, record.images)
    if status.remaining:
        raise IncompleteError(f"{status.remaining} of {status.planned} images were not explained")
    if record.state != "finished" or done.images:
        _record(output, record, "finished", status, began, done.replicas)
    seconds = time.perf_counter() - began
    return Summary(status, done.images, done.failed, seconds, max(0.0, ended - done.began), output.root)


def _work(config: AuditConfig, model: LoadedModel, place: Place, record: RunRecord) -> Work:
    return Work(
        config=config.model_dump_json(by_alias=True),
        recipe=model.recipe,
        plan=record.plan,
        sha256=model.sha256,
        life=uuid.uuid4().hex,
        labels=record.labels,
        environment=travelling(os.environ),
        root=place.store.root,
        within=boundary(place, record.layout),
    )


def _control(output: Store, gathering: Gathering) -> Piece | None:
    """A shard that an earlier run explained some of."""
    for shard in committed_shards(output):
        commit = read_commit(output, shard)
        if commit.failed < commit.images:
            return gathering.whole(shard)
    return None


def _record(
    output: Store,
    record: RunRecord,
    state: Literal["stopped", "finished"],
    status: Status,
    began: float,
    taking_part: set[Replica],
) -> None:
    """Record how a run ended."""
    now_there = sorted((asdict(replica) for replica in taking_part), key=lambda each: (each["node"], each["pid"]))
    ended = record.model_copy(
        update={
            "state": state,
            "finished": now() if state == "finished" else None,
            "counts": {
                "planned": status.planned,
                "scored": status.scored,
                "failed": status.failed,
                "rows": status.rows,
            },
            "seconds": round(time.perf_counter() - began, 1),
            "workers": [*record.workers, *now_there],
        }
    )
    write_record(output, ended)
