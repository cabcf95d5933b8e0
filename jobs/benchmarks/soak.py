"""`soak`: a long audit of many small images, its memory over time, and, if asked, something killed all the while."""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import psutil
from PIL import Image

from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from igcam_batch.storage import open_store
from igcam_batch.tables import committed_shards
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.shards import SCORES_DIR, part_name
from igcam_batch.tables.status import Status, read_status

_MIB = 2**20
_SLACK = 1.05  # of the memory in the second quarter of a run
_SIDE = 64  # pixels
_SECONDS = 1.0  # between samples
_AUDIT = ("--model", "torchvision:squeezenet1_1", "--weights", "none", "--input-size", "64", "--steps", "2")


@dataclass(frozen=True)
class Sample:
    """A moment of the run.

    Attributes:
        seconds: since it began.
        images: committed.
        driver: resident bytes of the driver's own.
        workers: of the largest process that holds a model; 0 while none is up.
    """

    seconds: float
    images: int
    driver: int
    workers: int


@click.command()
@click.option("--images", default=20_000, show_default=True, type=click.IntRange(100))
@click.option("--shard-size", default=100, show_default=True, type=click.IntRange(1))
@click.option("--kill-every", default=0.0, metavar="SECONDS", help="kill one of the run's processes so often")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def soak(images: int, shard_size: int, kill_every: float, file: str | None) -> None:
    """Audit many small images, and fail if memory grows or an image is not accounted for.

    The memory of the driver, and of the largest worker, in the last quarter of the run is compared with that in the
    second. With --kill-every, a decoding or explaining process is killed again and again meanwhile; then the driver's
    memory alone is compared, as no worker lives long.
    """
    measured_on = machine()
    with tempfile.TemporaryDirectory(prefix="igcam-soak-") as directory:
        root, output = Path(directory) / "images", str(Path(directory) / "audit")
        _draw(root, images)
        command = [sys.executable, "-m", "igcam_batch", "audit", str(root), output, *_AUDIT]
        process = subprocess.Popen([*command, "--shard-size", str(shard_size)])
        killer = _Killer(kill_every)
        samples = list(_watched(process, output, shard_size, killer))
        if process.returncode:
            raise click.ClickException(f"the audit ended with code {process.returncode}")
        status = _checked(output)
    _report(samples, status, killer, measured_on, file)


def _draw(root: Path, images: int) -> None:
    """Noise in colour, a hundred to a directory."""
    generator = np.random.default_rng(0)
    for number in range(images):
        path = root / f"{number // 100:05d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((_SIDE, _SIDE)).save(path)


class _Killer:
    """Kills one of a run's workers every so many seconds; 0: none."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._chance = seconds, random.Random(0)  # noqa: S311  # whom, is no secret
        self._last = time.monotonic()
        self.killed = 0

    def __call__(self, workers: list[psutil.Process]) -> None:
        """Kill one, if it is time."""
        if not self._seconds or not workers or time.monotonic() - self._last < self._seconds:
            return
        self._last = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            self._chance.choice(workers).kill()
            self.killed += 1


def _watched(
    process: subprocess.Popen[bytes],
    output: str,
    shard_size: int,
    killer: Callable[[list[psutil.Process]], None],
) -> Iterator[Sample]:
    """A sample every second or so, while the run lasts."""
    began, driver = time.monotonic(), psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            below = driver.children(recursive=True)
            explaining = [each for each in below if _does(each, "ExplainShards")]
            killer(explaining + [each for each in below if _does(each, "decode_shard")])
            resident = [_resident(each) for each in explaining]
            done = sum(1 for _ in committed_shards(open_store(output))) * shard_size
            yield Sample(time.monotonic() - began, done, _resident(driver), max(resident, default=0))
        time.sleep(_SECONDS)


def _does(process: psutil.Process, what: str) -> bool:
    try:
        return what in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _resident(process: psutil.Process) -> int:
    """Of a process alone: pages of Ray's object store are everybody's, and count where they were touched once."""
    try:
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    except psutil.Error:
        return 0


def _checked(output: str) -> Status:
    """The status of a run that is whole: every image scored once."""
    status = read_status(output)
    seen: set[str] = set()
    store = open_store(output)
    for shard in committed_shards(store):
        with store.open(f"{SCORES_DIR}/{part_name(shard)}") as stream:
            some = read_parquet(stream, ["image_id"])["image_id"].to_pylist()
        if len(some) != len(set(some)) or seen.intersection(some):
            raise click.ClickException(f"shard {shard}: an image is there twice")
        seen.update(some)
    if len(seen) != status.planned:
        raise click.ClickException(f"{status.planned} images were planned, {len(seen)} are scored: {status}")
    return status


def _report(
    samples: list[Sample], status: Status, killer: _Killer, measured_on: dict[str, object], file: str | None
) -> None:
    console.print(f"{said(measured_on)}; {status.planned} images, {status.rows} rows, {status.failed} failures\n")
    total = status.planned
    marks = [
        next(each for each in samples if each.images >= share * total)
        for share in (0.1, 0.25, 0.5, 0.75, 0.9)
        if any(each.images >= share * total for each in samples)
    ]
    rows = [
        [f"{each.seconds:.0f} s", str(each.images), f"{each.driver / _MIB:.0f}", f"{each.workers / _MIB:.0f}"]
        for each in marks
    ]
    show("memory, MiB", ["after", "images", "driver", "largest worker"], rows)
    goals = [Goal.at_most("driver: last quarter over second", _SLACK, _growth(samples, total, lambda at: at.driver))]
    if not killer.killed:
        growth = _growth(samples, total, lambda at: at.workers)
        goals.append(Goal.at_most("workers: last quarter over second", _SLACK, growth))
    show("targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
    console.print(f"{killer.killed} processes were killed")
    figures = {"machine": measured_on, "samples": [asdict(each) for each in samples], "killed": killer.killed}
    write_json(file, figures | {"status": asdict(status), "targets": [goal.figures for goal in goals]})
    if not all(goal.met for goal in goals):
        raise click.ClickException("memory grows")


def _growth(samples: list[Sample], total: int, of: Callable[[Sample], int]) -> float:
    """The median in the last quarter of the images over that in the second, of what is up at the time."""
    second = [of(each) for each in samples if 0.25 * total <= each.images < 0.5 * total and of(each)]
    last = [of(each) for each in samples if each.images >= 0.75 * total and of(each)]
    if not second or not last:
        raise click.ClickException("the run was too short to say; more --images")
    return statistics.median(last) / statistics.median(second)
