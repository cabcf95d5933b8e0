"""What an audit will do, frozen before it begins: the manifest, its shards, the replicas, and the record of it all."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.audit.belongings import clear
from igcam_batch.audit.cluster import Replicas, connect, plan_replicas
from igcam_batch.audit.progress import Progress
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel
from igcam_batch.sources import SUFFIXES, Place, Source, Wanted, class_directories, open_source
from igcam_batch.storage import Store
from igcam_batch.tables.plan import PLAN_DIR, Planned, write_plan
from igcam_batch.tables.record import ModelRecord, RunRecord, versions, write_record

_SHARD_IMAGES_GPU, _SHARD_IMAGES_CPU = 256, 32  # at most, unless --shard-size says otherwise
_SHARDS_PER_WORKER = 4  # at least, so that workers finish together
_MANY_SHARDS = 64  # for each worker; where there are more, shards are made larger, so that there are fewer files
_MUCH = 160 << 20  # bytes of pixels in a shard that is made larger
_LARGEST_SHARD = 1 << 30  # bytes of pixels; a row that Arrow and Ray carry holds less than 2 GiB
_NAMED_AT_MOST = 5
_NUMBERED_BY_NAME = ("imagefolder", "voc")  # layouts whose classes are numbered in the order of their names


def begin(
    config: AuditConfig,
    model: LoadedModel,
    place: Place,
    output: Store,
    progress: Progress,
    started: str,
    deadline: float | None = None,
) -> tuple[RunRecord, Replicas]:
    """Freeze the plan, find the workers, and record that a run begins, or did at `started`.

    What OUTPUT held goes only when nothing more can be refused; a plan that comes to nothing is taken back.

    A deadline does not break off what is planned: it would be the same work another night.

    Raises:
        InputError: INPUT has no images, its labels mean nothing to the model, or the cluster lacks what was asked for.
        StoppedError: the deadline, as `time.monotonic` counts, came while the cluster was waited for.
    """
    plan = f"{PLAN_DIR}/{uuid.uuid4().hex[:12]}"
    try:
        drafted = draft(config, model, place, output, output, plan)
        connect()
        replicas = plan_replicas(config, progress.warned, deadline)
        record = _new_record(config, model, plan, drafted, replicas, started)
    except BaseException:
        output.delete(plan)
        raise
    clear(output, plan)
    write_record(output, record)
    for line in record.notes:
        progress.warned(line)
    return record, replicas


@dataclass(frozen=True)
class Draft:
    """A plan that is written, and has been found to mean something to the model.

    Attributes:
        planned: what it holds.
        source: the dataset that it was made from.
        numbered: the dataset's classes in the order of their numbers, where the layout has one.
    """

    planned: Planned
    source: Source
    numbered: tuple[str, ...]

    def labels_of(self, classes: int) -> tuple[str, ...]:
        """The labels, where they name the classes of a model with so many."""
        return self.numbered if len(self.numbered) == classes else ()


def draft(config: AuditConfig, model: LoadedModel, place: Place, output: Store, store: Store, plan: str) -> Draft:
    """Write the plan of an audit into a directory of a store.

    Args:
        config: its settings.
        model: that it explains.
        place: INPUT.
        output: OUTPUT, of which nothing is planned where it lies in INPUT.
        store: that the plan is written to.
        plan: directory there.

    Raises:
        InputError: INPUT has no images, cannot be read, or its labels mean nothing to the model.
    """
    try:
        wanted = Wanted(config.image_set, masks=config.objects == "masks", difficult=config.difficult == "keep")
        source = open_source(place, config.layout, wanted)
        planned = write_plan(store, _first(config.limit, _outside(place, output, source.tables)), plan)
        if not planned.images:
            raise InputError(
                f"INPUT {place.uri}: no images in it as --layout {source.layout}; their files are named "
                + "; ".join([" ".join(sorted(SUFFIXES)), *source.notes.lines()])
            )
        numbered = tuple(_numbered(config, place, source, planned))
    except OSError as error:
        raise InputError(f"{error.filename or place.uri}: {error.strerror or error}") from None
    if config.targets.needs_labels:
        _check_labels(config, model, planned, numbered)
    return Draft(planned, source, numbered)


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


def _numbered(config: AuditConfig, place: Place, source: Source, planned: Planned) -> Iterable[str]:
    """The dataset's classes in the order of their numbers, where the layout has one; of all images, not the first."""
    if source.layout == "imagefolder" and config.limit is not None:
        return class_directories(place.store)
    return planned.labels if source.layout in _NUMBERED_BY_NAME else ()


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


def size_of_shards(config: AuditConfig, model: LoadedModel, images: int, replicas: Replicas) -> int:
    """How many images a shard has; InputError where as many as were asked for are too much for one row of Ray's."""
    at_most = _SHARD_IMAGES_GPU if replicas.gpus else _SHARD_IMAGES_CPU
    pixels = 3 * model.recipe.size**2
    evenly = -(-images // (_SHARDS_PER_WORKER * replicas.most))
    of_many = min(images // (_MANY_SHARDS * replicas.most), 4 * at_most, _MUCH // pixels)
    size = config.shard_size or max(1, min(evenly, max(at_most, of_many)))
    if size * pixels > _LARGEST_SHARD:
        raise InputError(
            f"--shard-size {size}: at {model.recipe.size} pixels a side it can be {_LARGEST_SHARD // pixels} at most"
        )
    return size


def _new_record(
    config: AuditConfig, model: LoadedModel, plan: str, drafted: Draft, replicas: Replicas, started: str
) -> RunRecord:
    """The record of a run that begins; decides the size of a shard."""
    planned, source = drafted.planned, drafted.source
    shard_size = size_of_shards(config, model, planned.images, replicas)
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
        labels=drafted.labels_of(model.classes.count),
        started=started,
        versions=versions(),
    )
