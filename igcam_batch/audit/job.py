"""The job, in the order in which it happens: check, plan, run, reconcile, record."""

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from igcam_batch.audit.cluster import Replicas, connect, plan_replicas
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.execute import execute
from igcam_batch.audit.planning import TABLES, begin
from igcam_batch.audit.progress import Progress, Silent
from igcam_batch.audit.replica import Replica
from igcam_batch.audit.status import Status, count_commits
from igcam_batch.audit.work import Work
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, load_model
from igcam_batch.sources import Place, boundary, find_place
from igcam_batch.storage import LocalStore, Store, open_store
from igcam_batch.tables import committed_shards
from igcam_batch.tables.record import (
    RUN_FILE,
    RunRecord,
    differences,
    now,
    read_record,
    write_record,
)


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        status: images and rows of OUTPUT, of this run and of those it resumed.
        explained: images that this run itself took up.
        failed: how many of those could not be explained.
        seconds: from the call to the last commit.
        computing: seconds from when the first worker had images and the model to the last commit; 0 where nothing was
            left to do.
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
        tally = f"{done.planned} images, {done.rows} rows, {done.failed} failures"
        if not self.explained:
            return f"{tally}; nothing was left to do; tables in {self.output}"
        resumed = f"; {self.explained} of the images in this run" if self.explained < done.planned else ""
        rate = self.explained / self.computing
        pace = f"{self.computing:.1f} of them explaining at {rate:.2f} images/s"
        return f"{tally}{resumed}; {self.seconds:.1f} s, {pace}; tables in {self.output}"


def run_audit(config: AuditConfig, progress: Progress | None = None) -> Summary:
    """Explain a dataset: start, or go on with, the run in OUTPUT.

    Args:
        config: the settings.
        progress: told of every step.

    Raises:
        InputError: something asked for cannot be done; OUTPUT is as it was.
        IncompleteError: work was begun and could not be finished.
    """
    began = time.perf_counter()
    progress = progress or Silent()
    config = _absolute(config)
    place, output = find_place(config.input, follow_links=config.follow_links), open_store(config.output)
    _check_places(place, output)
    record = _existing_run(config, output)
    model = load_model(config)
    _check_targets(config, model)

    if record is None:
        record, replicas = begin(config, model, place, output, progress)
    else:
        _check_weights(record, model, output)
        connect()
        replicas = plan_replicas(config)

    done = set(committed_shards(output))
    before = count_commits(output, record.images)
    progress.planned(record.images, record.shards, before.scored + before.failed)
    todo = [shard for shard in range(record.shards) if shard not in done]
    computing, taking_part = _run(config, model, record, replicas, todo, progress, boundary(place, record.layout))

    status = count_commits(output, record.images)
    if status.remaining:
        raise IncompleteError(f"{status.remaining} of {status.planned} images were not explained")
    seconds = time.perf_counter() - began
    _finish(output, record, status, seconds, taking_part)
    explained = status.planned - before.scored - before.failed
    return Summary(status, explained, status.failed - before.failed, seconds, computing, output.root)


def _absolute(config: AuditConfig) -> AuditConfig:
    """The config with its places in full, as workers in other directories need them."""
    places = {"input": find_place(config.input).uri, "output": open_store(config.output).root}
    if "://" in config.weights:
        raise InputError(f"--weights {config.weights}: only files can be read yet; name a path")
    if config.weights not in ("DEFAULT", "none"):
        places["weights"] = str(Path(config.weights).expanduser().absolute())
    return config.model_copy(update=places)


def _check_places(place: Place, output: Store) -> None:
    """InputError unless INPUT can be reached and OUTPUT written, and they are two."""
    if place.uri == output.root:
        raise InputError(f"OUTPUT {output.root}: is INPUT; name another directory for the tables")
    place.store.probe()
    output.probe()
    if not isinstance(output, LocalStore):
        return
    ground = next(path for path in (Path(output.root), *Path(output.root).parents) if path.exists())
    if not ground.is_dir():
        raise InputError(f"OUTPUT {output.root}: {ground} is a file; name another directory")
    if not os.access(ground, os.W_OK | os.X_OK):
        raise InputError(f"OUTPUT {output.root}: {ground} cannot be written to; name another directory")


def _existing_run(config: AuditConfig, output: Store) -> RunRecord | None:
    """The run that OUTPUT holds, if it can go on; None where there is none, or it is to be replaced.

    Raises:
        InputError: OUTPUT holds another run, or tables that no run.json explains.
    """
    if config.overwrite:
        return None
    record = read_record(output)
    if record is None:
        strays = [name for name in TABLES if any(True for _ in output.list(name))]
        if strays:
            raise InputError(
                f"OUTPUT {output.root}: holds {', '.join(strays)} but no {RUN_FILE}; name another directory, or "
                "--overwrite them"
            )
        return None
    found = differences(record.config, config.result_settings())
    if found:
        raise InputError(_refusal(output, found))
    return record


def _refusal(output: Store, found: list[str]) -> str:
    return (
        f"OUTPUT {output.root}: holds another run ({'; '.join(found)}); name another directory, or --overwrite this one"
    )


def _check_weights(record: RunRecord, model: LoadedModel, output: Store) -> None:
    """InputError unless the run was begun with these weights."""
    there, here = record.model.sha256[:12], model.sha256[:12]
    if there != here:
        raise InputError(_refusal(output, [f"weights: sha256 {there} there, {here} here"]))


def _check_targets(config: AuditConfig, model: LoadedModel) -> None:
    """InputError if the model cannot have the classes that --target names."""
    classes, target = model.classes.count, config.targets
    beyond = [index for index in target.classes if index >= classes]
    if beyond or target.count > classes:
        raise InputError(f"--target {config.target}: the model has {classes} classes, 0 to {classes - 1}")


def _run(
    config: AuditConfig,
    model: LoadedModel,
    record: RunRecord,
    replicas: Replicas,
    shards: list[int],
    progress: Progress,
    within: str | None,
) -> tuple[float, set[Replica]]:
    """Run the shards; the seconds that took, and who took part."""
    if not shards:
        return 0.0, set()
    progress.started(str(replicas))
    work = Work(
        config=config.model_dump_json(by_alias=True),
        recipe=model.recipe,
        plan=record.plan,
        shard_size=record.shard_size,
        images=record.images,
        sha256=model.sha256,
        labels=record.labels,
        within=within,
    )
    began = math.inf
    taking_part = set()
    for outcome, replica in execute(work, replicas, shards):
        began = min(began, time.perf_counter() - outcome.seconds)
        progress.advanced(outcome.images, outcome.failed)
        if replicas.gpus and replica.device == "cpu" and replica not in taking_part:
            progress.warned(
                f"torch finds no CUDA on {replica.node} (CUDA_VISIBLE_DEVICES={replica.gpu}); it runs on CPUs"
            )
        taking_part.add(replica)
    return time.perf_counter() - began, taking_part


def _finish(output: Store, record: RunRecord, status: Status, seconds: float, taking_part: set[Replica]) -> None:
    """Record how a run ended; one that found it finished leaves its record as it is."""
    if record.state == "finished" and not taking_part:
        return
    counts = {"planned": status.planned, "scored": status.scored, "failed": status.failed, "rows": status.rows}
    now_there = sorted((asdict(replica) for replica in taking_part), key=lambda each: (each["node"], each["pid"]))
    workers = [*record.workers, *now_there]
    ended = record.model_copy(
        update={
            "state": "finished",
            "finished": now(),
            "counts": counts,
            "seconds": round(seconds, 1),
            "workers": workers,
        }
    )
    write_record(output, ended)
