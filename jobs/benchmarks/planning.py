"""`plan`: what a driver takes, in time and memory, to plan a manifest of millions and to resume over its shards.

And, where a prefix in S3 is named, how long it takes to list, by how many requests are under way at a time.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from igcam_batch.audit.gathering import Gathering
from igcam_batch.storage import LocalStore, open_store
from igcam_batch.tables import FAILURES, SCORES, commit_shard, heatmaps_schema
from igcam_batch.tables.record import RunRecord
from igcam_batch.tables.status import count_commits

_AT_ONCE = 100_000
_GIB = 2**30
_LISTED_AT_ONCE = (1, 4, 16)
_EACH = 0.05  # seconds between two looks at the driver's memory


@click.command()
@click.option("--rows", default=10_000_000, show_default=True, type=click.IntRange(1))
@click.option("--shards", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--listing", metavar="s3://BUCKET/PREFIX", help="list what lies there too, so many requests at a time")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def plan(rows: int, shards: int, listing: str | None, file: str | None) -> None:
    """Plan a manifest of so many rows, in Parquet and in CSV, and resume a run that has so many shards on disk.

    The targets are for ten million rows and ten thousand shards.
    """
    measured_on = machine()
    found: dict[str, Planned] = {}
    with tempfile.TemporaryDirectory(prefix="igcam-plan-") as directory:
        root = Path(directory)
        for kind in ("parquet", "csv"):
            manifest = root / f"manifest.{kind}"
            _write(manifest, rows)
            found[kind] = _planned(manifest, root / "out", rows)
            manifest.unlink()
        resuming = _resumed(root / "run", shards)
    listed = list(_listed(listing)) if listing else []
    console.print(f"{said(measured_on)}; {rows} rows, {shards} shards\n")
    table = [
        [f"plan a manifest in {kind}", f"{one.seconds:.1f}", f"{one.own / _GIB:.2f}", f"{one.resident / _GIB:.2f}"]
        for kind, one in found.items()
    ]
    show(
        "driver",
        ["", "seconds", "GiB of its own, at most", "GiB resident, at most"],
        [*table, ["find what is left, and count what is done", f"{resuming:.1f}", "", ""]],
    )
    if listed:
        show(
            f"listing {listing}",
            ["requests at a time", "keys", "seconds", "keys/s"],
            [
                [str(one.at_once), str(one.keys), f"{one.seconds:.1f}", f"{one.keys / one.seconds:.0f}"]
                for one in listed
            ],
        )
    goals = [
        Goal.at_most("seconds to plan, the slower of both", 60, max(one.seconds for one in found.values())),
        Goal.at_most("GiB of the driver's own, the larger of both", 1, max(one.own for one in found.values()) / _GIB),
        Goal.at_most("seconds to resume", 10, resuming),
    ]
    show("targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
    planning = {kind: asdict(one) for kind, one in found.items()}
    figures = {"machine": measured_on, "rows": rows, "shards": shards, "planning": planning, "resuming": resuming}
    figures |= {"listing": [asdict(one) for one in listed]}
    write_json(file, figures | {"targets": [goal.figures for goal in goals]})


@dataclass(frozen=True)
class Planned:
    """A manifest that was planned, by a driver with all that it imports and the model it checks.

    Attributes:
        seconds: that the whole command took, Ray's start and end among them.
        own: bytes of the driver's own, at most.
        resident: bytes with the pages of libraries, which the kernel shares between processes and may drop, at most.
    """

    seconds: float
    own: int
    resident: int


@dataclass(frozen=True)
class Listed:
    """A prefix that was listed.

    Attributes:
        at_once: sub-prefixes that were listed at a time.
        keys: that were found.
        seconds: that it took.
    """

    at_once: int
    keys: int
    seconds: float


def _write(manifest: Path, rows: int) -> None:
    """A thousand classes, paths as ImageNet's."""
    schema = pa.schema([("uri", pa.string()), ("label", pa.string())])
    if manifest.suffix == ".parquet":
        with pq.ParquetWriter(manifest, schema) as writer:
            for table in _tables(schema, rows):
                writer.write_table(table)
    else:
        import pyarrow.csv

        with pyarrow.csv.CSVWriter(manifest, schema) as writer:
            for table in _tables(schema, rows):
                writer.write_table(table)


def _tables(schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    for start in range(0, rows, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, rows))
        uris = [f"s3://bucket/train/n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG" for number in numbers]
        yield pa.table({"uri": uris, "label": [f"class {number % 1000}" for number in numbers]}, schema=schema)


def _planned(manifest: Path, output: Path, rows: int) -> Planned:
    """The command `igcam-batch plan`, which plans as an audit does, and explains nothing here."""
    settings = ["--model", "torchvision:resnet50", "--weights", "none", "--sample", "0"]
    command = [sys.executable, "-m", "igcam_batch", "plan", str(manifest), str(output), *settings]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        driver, most, own = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                memory = driver.memory_info()
                most, own = max(most, memory.rss), max(own, memory.rss - memory.shared)
            time.sleep(_EACH)
        seconds = time.perf_counter() - began
        printed.seek(0)
        text = printed.read()
    if f"{rows:,} images in" not in text:
        raise click.ClickException(f"planning {manifest.name}: {text}")
    return Planned(seconds, own, most)


def _resumed(output: Path, shards: int) -> float:
    """Seconds to find what is left of a run of which all shards but one are committed, and to count them."""
    store, of_each = LocalStore(str(output)), 256
    scores, heatmaps = SCORES.empty_table(), heatmaps_schema((7, 7), "float32").empty_table()
    for shard in range(shards - 1):
        commit_shard(store, shard, scores, heatmaps, FAILURES.empty_table(), of_each)
    record = RunRecord.model_construct(plan="plan/0", images=shards * of_each, shard_size=of_each, shards=shards)
    began = time.perf_counter()
    left = Gathering(store, record).unfinished()
    status = count_commits(store, record.images)
    seconds = time.perf_counter() - began
    assert [piece.shard for piece in left] == [shards - 1]
    assert status.remaining == of_each
    return seconds


def _listed(uri: str) -> Iterator[Listed]:
    """A prefix, with more and more requests at a time; once before, so that none pays for the first connections."""
    store = open_store(uri)
    store.probe()
    next(store.list(), None)
    for at_once in _LISTED_AT_ONCE:
        store.at_once = at_once
        began = time.perf_counter()
        keys = sum(1 for _ in store.list())
        yield Listed(at_once, keys, time.perf_counter() - began)
