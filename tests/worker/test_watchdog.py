"""An end to decoding that does not end: the verdict that is left, and the image that is not decoded again."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from drawings import picture
from slow_jpeg import slow_jpeg

from igcam_batch.images import Recipe, decode
from igcam_batch.sources import ImageRow, manifest_table
from igcam_batch.storage import LocalStore
from igcam_batch.tables import Piece
from igcam_batch.worker.read import read_shard
from igcam_batch.worker.watchdog import Verdict, Watchdog

SAID = "decoding took longer than --decode-timeout 0.2 s"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "out"))


@pytest.fixture
def ended() -> list[int]:
    """The exit codes with which the process would have ended."""
    return []


def files(store: LocalStore) -> list[str]:
    return [entry.path for entry in store.list()]


class TestOver:
    def test_an_image_that_takes_too_long_leaves_a_verdict_and_then_ends_the_process(self, store, ended):
        when: list[list[str]] = []
        dog = Watchdog(store, "plan/a", 0.2, lambda code: (when.append(files(store)), ended.append(code)))
        with dog.over(7):
            time.sleep(0.6)
        assert ended == [70]
        assert when == [["plan/a/verdicts/7.json"]]  # it is there before the end
        said = json.loads(store.read("plan/a/verdicts/7.json"))
        assert said == {"stage": "decode", "error": SAID, "seconds": 0.2}

    def test_it_is_armed_for_each_image_and_for_none_between_and_after(self, store, ended):
        dog = Watchdog(store, "plan/a", 0.3, ended.append)
        for row in range(4):
            with dog.over(row):
                time.sleep(0.15)
            time.sleep(0.1)
        time.sleep(0.4)
        assert (ended, files(store)) == ([], [])

    def test_it_is_disarmed_by_an_error(self, store, ended):
        before = threading.active_count()
        with pytest.raises(ZeroDivisionError), Watchdog(store, "plan/a", 0.1, ended.append).over(1):
            raise ZeroDivisionError
        time.sleep(0.2)
        assert (ended, threading.active_count()) == ([], before)

    def test_a_verdict_that_cannot_be_written_ends_the_process_all_the_same(self, store, ended, monkeypatch):
        def full(*_: object) -> None:
            raise OSError("no space")

        monkeypatch.setattr(LocalStore, "write", full)
        with Watchdog(store, "plan/a", 0.1, ended.append).over(1):
            time.sleep(0.3)
        assert ended == [70]

    def test_it_costs_little(self, store, ended):
        dog = Watchdog(store, "plan/a", 60, ended.append)
        began = time.perf_counter()
        for row in range(200):
            with dog.over(row):
                pass
        assert (time.perf_counter() - began) / 200 < 0.01

    def test_code_that_holds_the_interpreter_s_lock_is_ended_too(self, tmp_path):
        """`re` gives the lock to nobody while it goes through what `(a+)+b` may match."""
        program = (
            "import re, sys, igcam_batch.worker.watchdog as module\n"
            "from igcam_batch.storage import LocalStore\n"
            "module._GRACE = 0.5\n"
            "with module.Watchdog(LocalStore(sys.argv[1]), 'plan/a', 0.5).over(1):\n"
            "    re.match('(a+)+b', 'a' * 60)\n"
        )
        ran = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=30)
        assert ran.returncode == 1
        assert "Timeout (0:00:01" in ran.stderr


class TestVerdicts:
    def test_are_those_of_the_rows_that_are_asked_for(self, store):
        for row in (3, 12, 300):
            store.write(f"plan/a/verdicts/{row}.json", b'{"stage": "decode", "error": "x", "seconds": 5}')
        store.write("plan/a/verdicts/readme.txt", b"mine")
        dog = Watchdog(store, "plan/a", 5)
        assert dog.verdicts(0, 10) == {3: Verdict("decode", "x")}
        assert dog.verdicts(12, 300).keys() == {12}
        assert Watchdog(store, "plan/b", 5).verdicts(0, 1000) == {}

    def test_of_less_time_than_there_is_now_count_for_nothing(self, store):
        store.write("plan/a/verdicts/3.json", b'{"stage": "decode", "error": "x", "seconds": 5}')
        assert Watchdog(store, "plan/a", 6).verdicts(0, 10) == {}
        assert Watchdog(store, "plan/a", 4).verdicts(0, 10).keys() == {3}

    def test_cost_one_listing_where_there_are_none(self, store, monkeypatch):
        calls = []
        monkeypatch.setattr(LocalStore, "list", lambda _store, under, **_: iter(calls.append(under) or ()))
        monkeypatch.setattr(LocalStore, "read", lambda *_: pytest.fail("read"))
        assert Watchdog(store, "plan/a", 5).verdicts(0, 1000) == {}
        assert calls == ["plan/a/verdicts"]


def test_a_shard_goes_on_without_the_image_that_ended_its_process(tmp_path: Path) -> None:
    """Two runs of one shard, as Ray would make them; rows of the plan begin at 40."""
    for name in ("a.png", "c.png"):
        picture(ord(name[0])).save(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(slow_jpeg(30_000))
    (tmp_path / "shard.py").write_text(
        "import sys\n"
        "from igcam_batch.images import Recipe\n"
        "from igcam_batch.sources import ImageRow, manifest_table\n"
        "from igcam_batch.storage import LocalStore\n"
        "from igcam_batch.tables import Piece\n"
        "from igcam_batch.worker.read import read_shard\n"
        "from igcam_batch.worker.watchdog import Watchdog\n"
        "manifest = manifest_table(ImageRow(name, f'{sys.argv[1]}/{name}') for name in ('a.png', 'b.jpg', 'c.png'))\n"
        "dog = Watchdog(LocalStore(f'{sys.argv[1]}/out'), 'plan', 1)\n"
        "shard = read_shard(Piece(4, 40, 43), manifest, Recipe(size=8), 10**8, watchdog=dog)\n"
        "print(shard.images['image_id'].to_pylist(), shard.failures.to_pylist())\n"
    )
    command = [sys.executable, tmp_path / "shard.py", tmp_path]
    died = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert died.returncode == 70
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout.startswith("['a.png', 'c.png'] [{'image_id': 'b.jpg'")
    assert "'stage': 'decode', 'error': 'decoding took longer than --decode-timeout 1 s'" in again.stdout
    assert files(LocalStore(str(tmp_path / "out"))) == ["plan/verdicts/41.json"]


def test_an_image_at_which_two_processes_died_is_not_decoded_a_third_time(tmp_path: Path) -> None:
    """As a crash in C code ends them, which leaves no verdict."""
    for name in ("a.png", "b.png", "c.png"):
        picture(ord(name[0])).save(tmp_path / name)
    (tmp_path / "shard.py").write_text(
        "import os, sys\n"
        "import igcam_batch.worker.read as module\n"
        "from igcam_batch.images import Recipe\n"
        "from igcam_batch.sources import ImageRow, manifest_table\n"
        "from igcam_batch.storage import LocalStore\n"
        "from igcam_batch.tables import Piece\n"
        "from igcam_batch.worker.watchdog import Watchdog\n"
        "decode, seen = module.decode, []\n"
        "module.decode = lambda *given: (seen.append(1), os._exit(9) if len(seen) == 2 and 'die' in sys.argv else "
        "decode(*given))[1]\n"
        "manifest = manifest_table(ImageRow(name, f'{sys.argv[1]}/{name}') for name in ('a.png', 'b.png', 'c.png'))\n"
        "dog = Watchdog(LocalStore(f'{sys.argv[1]}/out'), 'plan/x', 60, life=sys.argv[2])\n"
        "piece = Piece(4, 40, 43)\n"
        "shard = module.read_shard(piece, manifest, Recipe(size=8), 10**8, watchdog=dog)\n"
        "print(shard.images['image_id'].to_pylist(), shard.failures['stage'].to_pylist())\n"
    )

    def run(*arguments: str, life: str = "one") -> tuple[int, str]:
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        command = [sys.executable, tmp_path / "shard.py", tmp_path, life, *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        return ran.returncode, ran.stdout.strip()

    assert run("die") == (9, "")
    assert run() == (0, "['a.png', 'b.png', 'c.png'] []")  # once may be anybody's fault
    assert [run("die"), run("die", life="two")] == [(9, ""), (9, "")]
    assert run(life="three") == (0, "['a.png', 'b.png', 'c.png'] []")  # each time the driver's end was its own, too
    assert [run("die"), run("die")] == [(9, ""), (9, "")]
    assert run() == (0, "['a.png', 'c.png'] ['crash']")
    assert files(LocalStore(str(tmp_path / "out"))) == ["plan/x/verdicts/41.json"]
    assert [path.name for path in tmp_path.glob("igcam-batch-*/*")] == []


def test_who_dies_between_two_images_dies_of_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the next one is being fetched."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = LocalStore(str(tmp_path / "out"))
    for _ in range(3):
        dog = Watchdog(store, "plan/a", 60, life="one")
        assert dog.verdicts(0, 10) == {}
        with dog.over(3):
            pass  # and the process ends here


def test_what_comes_out_is_the_same_with_and_without_one(tmp_path: Path, ended: list[int]) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    manifest = manifest_table(ImageRow(name, f"{tmp_path}/{name}") for name in ("a.png", "b.png"))
    plain = read_shard(Piece(0, 0, 2), manifest, Recipe(size=8), 10**6)
    watched = read_shard(
        Piece(0, 0, 2),
        manifest,
        Recipe(size=8),
        10**6,
        watchdog=Watchdog(LocalStore(str(tmp_path / "out")), "plan", 60),
    )
    assert plain.images.equals(watched.images)
    assert plain.failures.equals(watched.failures)
    assert not ended


def test_the_slow_picture_of_these_tests_is_a_picture() -> None:
    assert decode(slow_jpeg(3, side=1024), 2**20).size == (1024, 1024)
