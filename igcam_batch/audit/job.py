"""The job, in the order in which it happens: check, plan, run, reconcile, record."""

import math
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.audit.cluster import Replicas, connect, plan_replicas
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.execute import execute
from igcam_batch.audit.progress import Progress, Silent
from igcam_batch.audit.replica import Replica
from igcam_batch.audit.status import Status, count_commits
from igcam_batch.audit.work import Work
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, load_model
from igcam_batch.sources import SUFFIXES, Place, Source, Wanted, find_place, open_source
from igcam_batch.storage import LocalStore, Store, open_store
from igcam_batch.tables import committed_shards
from igcam_batch.tables.plan import PLAN_DIR, Planned, write_plan
from igcam_batch.tables.record import (
    RUN_FILE,
    ModelRecord,
    RunRecord,
    differences,
    now,
    read_record,
    versions,
    write_record,
)

_TABLES = ("scores", "heatmaps", "failures")
_OURS = (RUN_FILE, *_TABLES, "summary.parquet", "summary.json", "report.html")
_SHARD_IMAGES_GPU, _SHARD_IMAGES_CPU = 256, 32  # at most, unless --shard-size says otherwise
_SHARDS_PER_WORKER = 4  # at least, so that workers finish together
_LARGEST_SHARD = 1 << 30  # bytes of pixels; a row that Arrow and Ray carry holds less than 2 GiB
_NAMED_AT_MOST = 5
_NUMBERED_BY_NAME = ("imagefolder", "voc")  # layouts whose classes are numbered in the order of their names


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
    place, output = find_place(config.input), open_store(config.output)
    _check_places(place, output)
    record = _existing_run(config, output)
    model = load_model(config)
    _check_targets(config, model)

    if record is None:
        record, replicas = _begin(config, model, place, output, progress)
    else:
        _check_weights(record, model, output)
        connect()
        replicas = plan_replicas(config)

    done = set(committed_shards(output))
    before = count_commits(output, record.images)
    progress.planned(record.images, record.shards, before.scored + before.failed)
    todo = [shard for shard in range(record.shards) if shard not in done]
    computing, taking_part = _run(config, model, record, replicas, todo, progress)

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
        strays = [name for name in _TABLES if any(True for _ in output.list(name))]
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


def _begin(
    config: AuditConfig, model: LoadedModel, place: Place, output: Store, progress: Progress
) -> tuple[RunRecord, Replicas]:
    """Freeze the plan, find the workers, and record that a run begins.

    What OUTPUT held goes only when nothing more can be refused; a plan that comes to nothing is taken back.

    Raises:
        InputError: INPUT has no images, its labels mean nothing to the model, or the cluster lacks what was asked for.
    """
    plan = f"{PLAN_DIR}/{uuid.uuid4().hex[:12]}"
    try:
        wanted = Wanted(config.image_set, masks=config.objects == "masks", difficult=config.difficult == "keep")
        source = open_source(place, config.layout, wanted)
        planned = write_plan(output, _first(config.limit, _outside(place, output, source.tables)), plan)
        if not planned.images:
            raise InputError(
                f"INPUT {place.uri}: no images in it as --layout {source.layout}; their files are named "
                f"{' '.join(sorted(SUFFIXES))}"
            )
        numbered = tuple(planned.labels) if source.layout in _NUMBERED_BY_NAME else ()
        if config.targets.needs_labels:
            _check_labels(config, model, planned, numbered)
        connect()
        replicas = plan_replicas(config)
        record = _new_record(config, model, plan, planned, numbered, source, replicas)
    except OSError as error:
        output.delete(plan)
        raise InputError(f"{error.filename or place.uri}: {error.strerror or error}") from None
    except BaseException:
        output.delete(plan)
        raise
    _clear(output, plan)
    write_record(output, record)
    for line in record.notes:
        progress.warned(line)
    return record, replicas


def _clear(output: Store, plan: str) -> None:
    """Remove what an earlier run left, its record first, but not the plan that is about to begin."""
    for path in _OURS:
        output.delete(path)
    for entry in output.list(PLAN_DIR):
        if not entry.path.startswith(f"{plan}/"):
            output.delete(entry.path)


def _outside(place: Place, output: Store, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows whose images do not lie in OUTPUT, where that lies in INPUT."""
    if not output.root.startswith(place.store.root.rstrip("/") + "/"):
        return tables
    inside = output.root.rstrip("/") + "/"
    return (table.filter(pc.invert(pc.starts_with(table["uri"], inside))) for table in tables)


def _first(limit: int | None, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The first rows, and no more of the source than holds them."""
    if limit is None:
        yield from tables
        return
    for table in tables:
        yield table.slice(0, limit)
        limit -= min(limit, len(table))
        if not limit:
            return


def _check_labels(config: AuditConfig, model: LoadedModel, planned: Planned, numbered: tuple[str, ...]) -> None:
    if not planned.labels:
        raise InputError(
            f"--target {config.target}: INPUT gives its images no labels; --layout imagefolder takes sub-directories "
            "as classes, the layouts voc, coco and manifest what is written"
        )
    classes = model.classes.with_directory_order(numbered)
    unknown = [label for label in planned.labels if classes.index(label) is None and not classes.leaves_out(label)]
    if unknown:
        some = ", ".join(f"{label} of {planned.labels[label]}" for label in unknown[:_NAMED_AT_MOST])
        raise InputError(
            f"--target {config.target}: {len(unknown)} of {len(planned.labels)} labels are no class of {config.model} "
            f"({some}{', …' if len(unknown) > _NAMED_AT_MOST else ''}); --class-map FILE says which they are, or null "
            "to leave them out"
        )


def _new_record(
    config: AuditConfig,
    model: LoadedModel,
    plan: str,
    planned: Planned,
    numbered: tuple[str, ...],
    source: Source,
    replicas: Replicas,
) -> RunRecord:
    """The record of a run that begins; decides the size of a shard."""
    at_most = _SHARD_IMAGES_GPU if replicas.gpus else _SHARD_IMAGES_CPU
    evenly = -(-planned.images // (_SHARDS_PER_WORKER * replicas.most))
    shard_size = config.shard_size or max(1, min(at_most, evenly))
    if shard_size * 3 * model.recipe.size**2 > _LARGEST_SHARD:
        most = _LARGEST_SHARD // (3 * model.recipe.size**2)
        raise InputError(f"--shard-size {shard_size}: at {model.recipe.size} pixels a side it can be {most} at most")
    return RunRecord(
        state="running",
        config=config.result_settings(),
        model=ModelRecord(
            sha256=model.sha256,
            layer=model.layer,
            map_shape=model.map_shape,
            recipe=model.recipe,
            classes=model.classes.count,
            confidence=model.confidence,
        ),
        plan=plan,
        images=planned.images,
        shard_size=shard_size,
        shards=-(-planned.images // shard_size),
        layout=source.layout,
        notes=tuple(source.notes.lines()),
        labels=numbered if len(numbered) == model.classes.count else (),
        started=now(),
        versions=versions(),
    )


def _run(
    config: AuditConfig,
    model: LoadedModel,
    record: RunRecord,
    replicas: Replicas,
    shards: list[int],
    progress: Progress,
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
