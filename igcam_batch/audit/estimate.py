"""What an audit would do and cost, found by explaining a few of its images on the cluster. Nothing is written."""

import math
import os
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from igcam_batch.audit.arrival import of_nodes, reserved
from igcam_batch.audit.checks import absolute, check_model, check_places, check_weights, existing_run
from igcam_batch.audit.cluster import Replicas, connect, plan_replicas
from igcam_batch.audit.environment import travelling
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.lacking import lacking
from igcam_batch.audit.planning import draft, size_of_shards
from igcam_batch.audit.progress import Progress
from igcam_batch.audit.stop import ending_at_sigterm
from igcam_batch.audit.work import Work
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, load_model
from igcam_batch.sources import Place, boundary, find_place
from igcam_batch.storage import LocalStore, Store, open_store
from igcam_batch.tables import Piece, from_ipc, to_ipc, to_parquet
from igcam_batch.tables.plan import PLAN_DIR, read_plan
from igcam_batch.tables.record import RunRecord
from igcam_batch.tables.status import count_commits
from igcam_batch.words import amount_in_words
from igcam_batch.worker.decoded import DecodedShard

if TYPE_CHECKING:
    from igcam_batch.worker.explain import ShardExplainer

_WARM_UP = 2  # images that are explained before the clock starts
_LONGEST = 20.0  # seconds for a measurement that repeats the images
_FILE_BYTES = 8_000  # of a Parquet file beside its rows: schema and statistics


@dataclass(frozen=True)
class Sample:
    """What a few images took, on one replica.

    Attributes:
        images: how many were tried.
        failed: of these, could not be explained.
        reason: of the first that could not; '' where all could.
        rows: of scores that the others gave.
        explaining: seconds of the device for an image.
        decoding: seconds of a CPU for an image.
        loading: seconds until a process and the model in it were there.
        bytes: of an image's rows in the tables.
    """

    images: int
    failed: int
    reason: str
    rows: int
    explaining: float
    decoding: float
    loading: float
    bytes: float


@dataclass(frozen=True)
class Estimate:
    """What an audit would do.

    Attributes:
        images: in the dataset.
        layout: of it.
        remaining: images that are left, where OUTPUT holds an unfinished run of the same settings; else all.
        shard_size: images in a shard.
        layer: that would be explained.
        replicas: that it would run on.
        cpus: of the nodes there are.
        sample: what was measured; None where nothing was explained.
    """

    images: int
    layout: str
    remaining: int
    shard_size: int
    layer: str
    replicas: Replicas
    cpus: int
    sample: Sample | None

    @property
    def shards(self) -> int:
        """Of all the images."""
        return -(-self.images // self.shard_size)


def seconds(found: Sample, images: int, replicas: int) -> float:
    """How long so many replicas take for some images, from being started on."""
    return found.loading + images * found.explaining / replicas


def size_of_tables(found: Sample, images: int, shard_size: int) -> float:
    """Bytes of scores and heatmaps."""
    return images * found.bytes + 2 * math.ceil(images / shard_size) * _FILE_BYTES


def decoding_cpus(found: Sample, replicas: int) -> int:
    """CPUs that decode as fast as so many replicas explain."""
    return math.ceil(replicas * found.decoding / max(found.explaining, 1e-9))


@dataclass(frozen=True)
class _Frozen:
    """A plan, here or in OUTPUT, and what of it is left; `shard_size` None: still to be chosen."""

    store: Store
    plan: str
    images: int
    layout: str
    labels: tuple[str, ...]
    remaining: int
    shard_size: int | None


@ending_at_sigterm()
def estimate(config: AuditConfig, sample: int, progress: Progress) -> Estimate:
    """Plan an audit and explain some of its images, spread evenly over it. SIGTERM ends it.

    Args:
        config: its settings.
        sample: images to explain; 0: none.
        progress: told of what is waited for.

    Raises:
        InputError: what `run_audit` would refuse.
        IncompleteError: the process that explained them died, there was no room for it, or decoding took too long.
        StoppedError: by SIGTERM.
    """
    config = absolute(config)
    place, output = find_place(config.input, follow_links=config.follow_links), open_store(config.output)
    check_places(place, output)
    record = existing_run(config, output)
    model = load_model(config)
    check_model(config, model)
    if record is not None:
        check_weights(record, model, output)
    with tempfile.TemporaryDirectory(prefix="igcam-plan-") as directory:
        if record is None:
            frozen = _draft(config, model, place, output, LocalStore(directory))
        else:
            frozen = _of_run(record, output)
        connect()
        replicas = plan_replicas(config, progress.warned)
        size = frozen.shard_size or size_of_shards(config, model, frozen.images, replicas)
        work = Work(
            config=config.model_dump_json(by_alias=True),
            recipe=model.recipe,
            plan=frozen.plan,
            sha256=model.sha256,
            life=uuid.uuid4().hex,
            labels=frozen.labels,
            environment=travelling(os.environ),
            within=boundary(place, frozen.layout),
        )
        rows = _spread(frozen, sample) if sample and frozen.remaining else None
        found = None
        if rows is not None:
            with reserved(*replicas.need, config.startup_timeout, progress.warned) as room:
                found = _measured(work, replicas, room, rows, min(sample, frozen.images))
    cpus = int(sum(of_nodes("CPU")))
    return Estimate(frozen.images, frozen.layout, frozen.remaining, size, model.layer, replicas, cpus, found)


def _draft(config: AuditConfig, model: LoadedModel, place: Place, output: Store, store: Store) -> _Frozen:
    drafted = draft(config, model, place, output, store, PLAN_DIR)
    images, labels = drafted.planned.images, drafted.labels_of(model.classes.count)
    return _Frozen(store, PLAN_DIR, images, drafted.source.layout, labels, images, None)


def _of_run(record: RunRecord, output: Store) -> _Frozen:
    remaining = count_commits(output, record.images).remaining
    return _Frozen(output, record.plan, record.images, record.layout, record.labels, remaining, record.shard_size)


def _spread(frozen: _Frozen, count: int) -> pa.Table:
    """Rows of a plan, evenly over it: some to warm up with, where there are so many, and those that are measured."""
    spare = _WARM_UP if frozen.images >= count + _WARM_UP else 0  # else the first are explained twice
    rows = np.linspace(0, frozen.images - 1, min(count + spare, frozen.images)).astype(int).tolist()
    return pa.concat_tables([read_plan(frozen.store, row, row + 1, frozen.plan) for row in rows])


def _measured(work: Work, replicas: Replicas, room: PlacementGroup, rows: pa.Table, count: int) -> Sample:
    """Have a replica like those of an audit explain some images, the last so many of them by the clock."""
    there = PlacementGroupSchedulingStrategy(room)
    task = ray.remote(num_cpus=replicas.cpus, num_gpus=replicas.gpus, scheduling_strategy=there, max_retries=0)(
        _measure
    )
    began = time.perf_counter()
    try:
        found = ray.get(task.remote(work, replicas.gpus, replicas.threads, to_ipc(rows), count))
        elapsed = time.perf_counter() - began
        return Sample(loading=elapsed - found.pop("busy"), **found)
    except RayTaskError as error:
        if isinstance(error.cause, InputError | IncompleteError):
            raise type(error.cause)(str(error.cause)) from None
        if lack := lacking(error):
            raise lack from None
        raise IncompleteError(f"the images that were tried could not be explained: {error.cause!r}") from None
    except RayError as error:
        raise IncompleteError(
            f"the process that explained some images died ({type(error).__name__}); --sample 0 plans without them"
        ) from None


def _in_full_batches(explain: "ShardExplainer", decoded: DecodedShard, took: float) -> float:
    """Seconds that images take among others, as a few alone, which `took` some, leave a GPU idle."""
    times = min(math.ceil(explain.batch_size / max(1, len(decoded.images))), int(_LONGEST / took))
    if times <= 1:
        return took
    full = decoded.repeated(times)
    explain.tables(full)
    return explain.tables(full).seconds / times


def _measure(work: Work, gpus: float, threads: int | None, manifest: bytes, measured: int) -> dict[str, Any]:
    """In a process of its own: load the model, decode and explain a few images, and so many, the last, by the clock."""
    from igcam_batch.audit.replica import set_up
    from igcam_batch.worker.read import read_shard

    device, explain = set_up(work, gpus, threads)
    ready = time.perf_counter()
    settings, rows = work.settings(), from_ipc(manifest)

    decoding_thread = ThreadPoolExecutor(1)  # C code cannot be interrupted, but it need not be waited for

    def read(some: pa.Table) -> DecodedShard:
        piece, masks = Piece(0, 0, len(some)), settings.objects == "masks"
        call = partial(read_shard, piece, some, work.recipe, settings.max_pixels, masks, within=work.within)
        try:
            return decoding_thread.submit(call).result(len(some) * settings.decode_timeout)
        except TimeoutError:
            raise IncompleteError(
                f"decoding {amount_in_words(len(some), 'image')} took longer than --decode-timeout "
                f"{settings.decode_timeout:g} s for each; --sample 0 plans without them"
            ) from None

    warm = read(rows.slice(0, _WARM_UP))
    began = time.perf_counter()
    decoded = read(rows.slice(len(rows) - measured))
    decoding = time.perf_counter() - began
    explain.tables(decoded if device == "cuda" else warm)  # GPUs' libraries begin anew with each shape of a batch
    found = explain.tables(decoded)
    took = _in_full_batches(explain, decoded, found.seconds) if device == "cuda" else found.seconds
    images = decoded.piece.images
    scored = max(1, images - len(found.failures))
    return {
        "images": images,
        "failed": len(found.failures),
        "reason": found.failures["error"][0].as_py() if len(found.failures) else "",
        "rows": len(found.scores),
        "explaining": took / scored,
        "decoding": decoding / images,
        "busy": time.perf_counter() - ready,
        "bytes": sum(max(0, len(to_parquet(table)) - _FILE_BYTES) for table in (found.scores, found.heatmaps)) / images,
    }
