"""An OUTPUT that is full, becomes read-only, or goes away: one line says so, and nothing half-written stays."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from drawings import picture
from finished_runs import audit_here
from promise import assert_same_but

from igcam_batch import InputError
from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Silent
from igcam_batch.config import load_config

pytestmark = pytest.mark.xdist_group("faults")
IMAGES = 24


class Mischief(Silent):
    """Does something once the first shard is committed."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what: Callable[[], object] | None = what

    def advanced(self, images: int, failed: int) -> None:
        if self._what is not None:
            self._what()
            self._what = None


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        picture(number).save(root / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def explain(ray_cluster: None, images: Path) -> Callable[..., Summary]:
    """Run an audit of 24 pictures: `explain(output, mischief)`."""

    def run(output: Path, what: Callable[[], object] = lambda: None) -> Summary:
        places = {"input": str(images), "output": str(output)}
        settings = {"model": "factories:slow", "steps": 2, "shard-size": 2, "batch-size": 1, "workers": 1}
        return run_audit(load_config(places | settings), Mischief(what))

    return run


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """By the model that is never slow, which gives the same."""
    return audit_here(
        images, tmp_path_factory.mktemp("undisturbed") / "out", steps=2, shard_size=2, batch_size=1
    ).output


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


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def close(disk: Path) -> None:
    """Have OUTPUT be read-only, though files in it may be open: whoever asks for a path gets to the mount above it."""
    subprocess.run(["mount", "--bind", disk / "out", disk / "out"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk / "out"], check=True)


def reopen(disk: Path) -> None:
    subprocess.run(["umount", "--lazy", disk / "out"], check=True)


@pytest.mark.parametrize(
    ("disturb", "mend", "says"),
    [
        (fill, lambda disk: (disk / "ballast").unlink(), "No space left on device"),
        (close, reopen, "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_no_more_ends_the_run_and_once_mended_it_goes_on(
    explain: Callable[..., Summary],
    disk: Path,
    undisturbed: str,
    disturb: Callable[[Path], None],
    mend: Callable[[Path], None],
    says: str,
) -> None:
    with pytest.raises(IncompleteError, match=rf"/out.*: {says}; what was committed is kept"):
        explain(disk / "out", lambda: disturb(disk))
    left = [path for path in (disk / "out").rglob("*") if path.is_file() and path.name != ".claim"]
    assert {path.suffix for path in left} == {".parquet", ".json"}
    assert all(path.stat().st_size for path in left)
    mend(disk)
    summary = explain(disk / "out")
    assert 0 < summary.explained < IMAGES
    assert_same_but(summary.output, undisturbed)


def test_a_read_only_output_is_refused_before_anything_begins(explain: Callable[..., Summary], disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(InputError, match=r"OUTPUT .*/disk/out: .*/disk cannot be written to"):
        explain(disk / "out")


def test_an_output_that_goes_away_ends_the_run_and_once_back_it_goes_on(
    explain: Callable[..., Summary], undisturbed: str, tmp_path: Path
) -> None:
    output, away = tmp_path / "out", tmp_path / "away"
    with pytest.raises(IncompleteError, match=r"/out.*: (the run's plan is gone|No such file)"):
        explain(output, lambda: output.rename(away))
    shutil.rmtree(output, ignore_errors=True)  # an empty directory, at most
    away.rename(output)
    summary = explain(output)
    assert 0 < summary.explained < IMAGES
    assert_same_but(summary.output, undisturbed)
