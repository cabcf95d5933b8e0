"""The soak fails where memory grows, and where an image is missing or there twice; its killer kills."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from written_runs import score, write_run

from igcam_batch.tables.status import Status

JOBS = Path(__file__).resolve().parents[2] / "jobs"
MIB = 2**20
IMAGES = 1000


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(JOBS))
    from benchmarks import soak

    return soak


class TestReport:
    @pytest.fixture
    def report(self, soak: ModuleType, tmp_path: Path) -> Callable[..., dict[str, bool]]:
        """Report on a run of a hundred samples, and give its targets: `report(driver, workers)`, of the time, in MiB.

        The time goes from 0 to 1.
        """
        from benchmarks.sheet import machine

        def run(
            driver: Callable[[float], float], workers: Callable[[float], float], images: int = IMAGES, killed: int = 0
        ) -> dict[str, bool]:
            samples = [
                soak.Sample(100 * at, round(images * at), round(driver(at) * MIB), round(workers(at) * MIB))
                for at in np.linspace(0, 1, 101).tolist()
            ]
            killer, file = soak._Killer(0), tmp_path / "figures.json"
            killer.killed = killed
            failed = False
            try:
                soak._report(samples, Status(IMAGES, IMAGES, 0, IMAGES), killer, machine(), str(file))
            except click.ClickException:
                failed = True
            targets = json.loads(file.read_text())["targets"]
            met = {target["what"].partition(":")[0]: target["met"] for target in targets}
            assert failed != all(met.values())
            return met

        return run

    def test_memory_that_stays_as_it_is_after_a_start_is_fine(self, report):
        assert report(lambda at: 300 + 200 * min(at, 0.2), lambda at: 500 * (at > 0.1)) == {
            "driver": True,
            "workers": True,
        }

    def test_memory_that_grows_by_a_tenth_fails(self, report):
        assert report(lambda at: 300 * (1 + 0.2 * at), lambda _: 500) == {"driver": False, "workers": True}
        assert report(lambda _: 300, lambda at: 500 * (1 + 0.2 * at)) == {"driver": True, "workers": False}

    def test_workers_that_have_ended_hide_nothing(self, report):
        assert not report(lambda _: 300, lambda at: 500 * (1 + 0.2 * at) * (at < 0.8))["workers"]

    def test_where_some_were_killed_the_driver_alone_is_looked_at(self, report):
        assert report(lambda _: 300, lambda at: 500 * (1 + at), killed=3) == {"driver": True}

    def test_a_run_that_is_too_short_says_so(self, soak):
        few = [soak.Sample(0.0, 0, MIB, MIB), soak.Sample(1.0, IMAGES, MIB, MIB)]
        with pytest.raises(click.ClickException, match="too short to say; more --images"):
            soak._growth(few, IMAGES, lambda at: at.driver)
        unseen = [soak.Sample(float(at), 10 * at, MIB, 0) for at in range(101)]
        assert soak._growth(unseen, IMAGES, lambda at: at.driver) == 1
        with pytest.raises(click.ClickException, match="too short"):
            soak._growth(unseen, IMAGES, lambda at: at.workers)


class TestKiller:
    @pytest.fixture
    def sleeping(self) -> Iterator[list[psutil.Process]]:
        two = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
        yield [psutil.Process(process.pid) for process in two]
        for process in two:
            process.kill()
            process.wait()

    def test_kills_one_every_so_often_and_not_before(self, soak, sleeping):
        killer = soak._Killer(0.3)
        killer(sleeping)
        assert killer.killed == 0
        time.sleep(0.4)
        killer([])
        killer(sleeping)
        killer(sleeping)
        assert killer.killed == 1
        _, alive = psutil.wait_procs(sleeping, timeout=1)
        assert len(alive) == 1

    def test_kills_none_unless_asked(self, soak, sleeping):
        soak._Killer(0)(sleeping)
        assert not psutil.wait_procs(sleeping, timeout=0.1)[0]

    def test_one_that_has_ended_meanwhile_does_not_count(self, soak, sleeping):
        for process in sleeping:
            process.kill()
            process.wait()
        killer = soak._Killer(0.01)
        time.sleep(0.02)
        killer(sleeping)
        assert killer.killed == 0


class TestEveryImage:
    @pytest.fixture
    def written(self, tmp_path: Path) -> Callable[..., Path]:
        """A run of four images in two shards."""

        def write(**changes: Any) -> Path:
            rows = [score(name) for name in ("a", "b", "c", "d")]
            return Path(write_run(tmp_path / "out", rows, np.zeros((4, 2, 2)), shard_size=2, **changes))

        return write

    def test_a_whole_run_passes(self, soak, written):
        assert soak._checked(str(written())) == Status(4, 4, 0, 4)

    @pytest.mark.parametrize("what", [{"remaining": 1}, {"failures": {"e": "gone"}}], ids=["remains", "failed"])
    def test_an_image_that_is_not_scored_fails(self, soak, written, what):
        with pytest.raises(click.ClickException, match="5 images were planned, 4 are scored"):
            soak._checked(str(written(**what)))

    def test_an_image_that_is_in_two_shards_fails(self, soak, written):
        scores = written() / "scores"
        shutil.copy(scores / "part-000000.parquet", scores / "part-000002.parquet")
        with pytest.raises(click.ClickException, match="shard 2: an image is there twice"):
            soak._checked(str(scores.parent))

    def test_an_image_that_is_twice_in_one_fails(self, soak, tmp_path):
        rows = [score("a", 0), score("a", 1), score("b")]
        output = write_run(tmp_path / "out", rows, np.zeros((3, 2, 2)))
        with pytest.raises(click.ClickException, match="shard 0: an image is there twice"):
            soak._checked(output)


def test_a_toy_run_samples_memory_and_finds_every_image(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "_SECONDS", 0.1)  # it explains some hundred images in a second
    file = tmp_path / "figures.json"
    done = CliRunner().invoke(soak.soak, ["--images", "200", "--shard-size", "4", "--json", str(file)])
    figures = json.loads(file.read_text())
    assert figures["status"] == {"planned": 200, "scored": 200, "failed": 0, "rows": 200}
    images = [each["images"] for each in figures["samples"]]
    assert images == sorted(images)
    assert (images[0], images[-1]) == (0, 200)
    assert max(each["workers"] for each in figures["samples"]) > 50 * MIB
    assert max(each["driver"] for each in figures["samples"]) > 50 * MIB
    assert done.exit_code == (0 if all(target["met"] for target in figures["targets"]) else 1)
