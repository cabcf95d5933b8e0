"""An OUTPUT that is full, becomes read-only, or goes away: one line says so, and nothing half-written stays."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from promise import assert_same_but

from igcam_batch import InputError
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Silent
from igcam_batch.config import load_config

pytestmark = pytest.mark.xdist_group("faults")
NAMES = tuple(f"{index:02d}.png" for index in range(24))


class Mischief(Silent):
    """Does something once the first shard is committed."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what: Callable[[], object] | None = what

    def advanced(self, images: int, failed: int) -> None:
        if self._what is not None:
            self._what()
            self._what = None


@pytest.fixture
def explain(ray_cluster: None, pictures: Callable[..., Path]) -> Callable[..., Summary]:
    """Run an audit of 24 pictures: `explain(output, mischief)`."""
    images = pictures(*NAMES)

    def run(output: Path, what: Callable[[], object] = lambda: None) -> Summary:
        places = {"input": str(images), "output": str(output)}
        settings = {"model": "factories:slow", "steps": 2, "shard-size": 2, "batch-size": 1}
        return run_audit(load_config(places | settings), Mischief(what))

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_ends_the_run_and_room_on_it_lets_it_go_on(
    explain: Callable[..., Summary], disk: Path, tmp_path: Path
) -> None:
    undisturbed = explain(tmp_path / "undisturbed").output
    ballast = disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    with pytest.raises(IncompleteError, match=r"/out/.*: No space left on device; what was committed is kept"):
        explain(disk / "out", fill)
    left = [path for path in (disk / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in left} == {".parquet", ".json"}
    assert all(path.stat().st_size for path in left)
    ballast.unlink()
    summary = explain(disk / "out")
    assert summary.explained < len(NAMES)
    assert_same_but(summary.output, undisturbed)


def test_a_read_only_output_is_refused_before_anything_begins(explain: Callable[..., Summary], disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(InputError, match=r"OUTPUT .*/disk/out: .*/disk cannot be written to"):
        explain(disk / "out")


def test_an_output_that_goes_away_ends_the_run(explain: Callable[..., Summary], tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(IncompleteError, match=r"/out.*: (the run's plan is gone|No such file)"):
        explain(output, lambda: shutil.rmtree(output, ignore_errors=True))
