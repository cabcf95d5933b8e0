"""One owner of a place at a time: who comes second is told who the first is, and who is dead loses it."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_proxy import Answer, Proxy

from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore, Store, open_store, s3_claim, this_process
from igcam_batch.storage.s3 import S3Store

_OWNER = """
import sys, time
from igcam_batch.storage import open_store, s3_claim
s3_claim.RENEW_SECONDS, s3_claim.LOOK_SECONDS = 0.2, 0.1
with open_store(sys.argv[1]).claim(".claim", "host h, pid 123, since then"):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""

Process = subprocess.Popen[bytes]


@pytest.fixture
def owner() -> Iterator[Callable[..., Process]]:
    """Another process that owns a place: `owner(store)`."""
    started: list[Process] = []

    def start(store: Store, seconds: float = 60) -> Process:
        started.append(
            subprocess.Popen([sys.executable, "-c", _OWNER, store.root, str(seconds)], stdout=subprocess.PIPE)
        )
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == b"ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(params=["local_store", pytest.param("s3_store", marks=pytest.mark.xdist_group("s3"))])
def store(request) -> Store:
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    monkeypatch.setattr(s3_claim, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(s3_claim, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(s3_claim, "WATCH_SECONDS", 3.0)


def kill(process: Process) -> None:
    process.kill()
    process.wait()


def refused(store: Store) -> str:
    with pytest.raises(InputError) as caught, store.claim(".claim", "me"):
        pass
    return str(caught.value)


class TestEveryStore:
    def test_a_living_owner_is_named_and_keeps_it(self, store, owner):
        owner(store)
        line = f"{store.root}: another igcam-batch writes to it (host h, pid 123, since then); wait for it, or stop it"
        assert refused(store) == line
        assert refused(store) == line

    def test_one_that_was_killed_loses_it(self, store, owner):
        kill(owner(store))
        with store.claim(".claim", "me") as claim:
            assert (claim.owner, claim.lost.is_set()) == ("me", False)

    def test_at_the_end_it_is_free_and_nothing_is_left(self, store):
        for _ in range(2):
            with store.claim(".claim", "me"):
                assert store.exists(".claim")
                assert list(store.list()) == []
        assert not store.exists(".claim")

    def test_an_error_in_the_block_frees_it(self, store):
        with pytest.raises(ZeroDivisionError), store.claim(".claim", "me"):
            raise ZeroDivisionError
        with store.claim(".claim", "me"):
            pass

    def test_two_places_are_owned_apart(self, store):
        beside = open_store(f"{store.root}-beside")
        with store.claim(".claim", "me"), beside.claim(".claim", "me"):
            pass

    def test_of_many_at_once_one_gets_it(self, store):
        got, told, go = [], [], threading.Barrier(6)
        everyone_else_was_told = threading.Event()

        def claim(number: int) -> None:
            go.wait()
            try:
                with store.claim(".claim", f"number {number}"):
                    got.append(number)
                    everyone_else_was_told.wait(30)
            except InputError as error:
                told.append(str(error))
                if len(told) == 5:
                    everyone_else_was_told.set()

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert all(f"(number {got[0]})" in line for line in told)

    def test_an_owner_says_where_and_since_when_it_runs(self):
        assert f"pid {os.getpid()}, since 20" in this_process()


class TestOnDisk:
    @pytest.fixture
    def store(self, local_store) -> LocalStore:
        return local_store

    def test_a_killed_owner_loses_it_at_once(self, store, owner):
        kill(owner(store))
        began = time.monotonic()
        with store.claim(".claim", "me"):
            assert time.monotonic() - began < 2

    @pytest.mark.parametrize("start", ["a program", "a fork"])
    def test_a_child_of_a_dead_owner_does_not_keep_it(self, store, start):
        """The child lives on while the owner, its parent, is gone."""
        program = (
            "import os, subprocess, sys, time\n"
            "from igcam_batch.storage import open_store\n"
            "with open_store(sys.argv[1]).claim('.claim', 'parent'):\n"
            "    if sys.argv[2] == 'a program':\n"
            "        print(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)\n"
            "    elif not os.fork():\n"
            "        print(os.getpid(), flush=True)\n"
            "    time.sleep(60)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", program, store.root, start], stdout=subprocess.PIPE)
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        parent.stdout.close()
        try:
            with store.claim(".claim", "me"):
                os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)

    def test_a_directory_that_was_made_for_it_goes_with_it_unless_it_holds_something(self, store):
        with store.claim(".claim", "me"):
            pass
        assert not Path(store.root).exists()
        with store.claim(".claim", "me"):
            store.write("a", b"x")
        assert [path.name for path in Path(store.root).iterdir()] == ["a"]

    def test_a_directory_that_was_there_stays(self, store):
        Path(store.root).mkdir()
        with store.claim(".claim", "me"):
            pass
        assert Path(store.root).is_dir()

    def test_a_directory_that_goes_while_it_is_being_made_is_made_again(self, store, monkeypatch):
        """As where its last owner removes it between the two looks that making it takes."""
        mkdir, times = os.mkdir, iter([1])

        def gone_at_once(path, *given, **named):
            if str(path) == store.root and next(times, None):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), store.root)
            mkdir(path, *given, **named)

        monkeypatch.setattr(os, "mkdir", gone_at_once)
        with store.claim(".claim", "me"):
            assert Path(store.root).is_dir()

    def test_where_no_directory_can_be_made_it_is_told_and_not_tried_for_ever(self, store, monkeypatch):
        """As in /proc, which says that the directory is not there whose making was asked for."""
        mkdir = os.mkdir

        def takes_none(path, *given, **named):
            if str(path) == store.root:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), store.root)
            mkdir(path, *given, **named)

        monkeypatch.setattr(os, "mkdir", takes_none)
        assert refused(store) == (
            f"OUTPUT {store.root}: no directory can be made there, or it does not last (No such file or directory); "
            "name another"
        )

    def test_a_file_in_its_place_is_an_error(self, store):
        Path(store.root).touch()
        with pytest.raises(FileExistsError), store.claim(".claim", "me"):
            pass

    def test_coming_and_going_there_is_never_more_than_one(self, store):
        inside, most, told = [], [], []

        def come_and_go() -> None:
            for _ in range(100):
                try:
                    with store.claim(".claim", "me"):
                        inside.append(1)
                        most.append(len(inside))
                        inside.pop()
                except InputError:
                    told.append(1)

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(most) == {1}
        assert len(most) + len(told) == 400

    def test_a_file_system_without_locks_is_told(self, store, monkeypatch):
        def refuse(*_arguments: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        assert "its file system has no locks (No locks available); name a directory on one that has" in refused(store)


@pytest.mark.xdist_group("s3")
class TestInS3:
    @pytest.fixture
    def store(self, s3_store) -> S3Store:
        return s3_store

    def test_it_is_held_for_as_long_as_the_owner_lives(self, store, owner):
        process = owner(store, seconds=4.5)
        assert "pid 123" in refused(store)
        time.sleep(1.5)
        assert "pid 123" in refused(store)
        assert process.wait() == 0
        began = time.monotonic()
        with store.claim(".claim", "me"):
            assert time.monotonic() - began < 1

    def test_one_that_ends_while_it_is_watched_is_followed_at_once(self, store, owner, monkeypatch):
        monkeypatch.setattr(s3_claim, "WATCH_SECONDS", 60)
        store.write(".claim", b'{"owner": "dead", "token": "t", "count": 1}')
        threading.Timer(0.5, store.delete, [".claim"]).start()
        began = time.monotonic()
        with store.claim(".claim", "me"):
            assert time.monotonic() - began < 10

    def test_what_lies_there_and_is_no_claim_is_taken_over_too(self, store):
        store.write(".claim", b"\xff\x00")
        with store.claim(".claim", "me"):
            assert json.loads(store.read(".claim"))["owner"] == "me"

    @pytest.mark.parametrize("how", ["taken over", "removed"])
    def test_an_owner_notices_that_it_is_no_longer(self, store, how):
        with store.claim(".claim", "me") as claim:
            time.sleep(0.5)
            assert not claim.lost.is_set()
            if how == "removed":
                store.delete(".claim")
            else:
                store.write(".claim", b'{"owner": "another", "token": "t", "count": 0}')
            assert claim.lost.wait(5)
        assert store.exists(".claim") == (how == "taken over")

    def test_a_while_without_s3_is_no_loss(self, watched: Proxy, store):
        with store.claim(".claim", "me") as claim:
            watched.answer = lambda _request: Answer(503, b"<Error><Code>SlowDown</Code></Error>")
            time.sleep(3)
            watched.answer = lambda _request: None
            before = store.read(".claim")
            time.sleep(3)
            assert not claim.lost.is_set()
            assert store.read(".claim") != before

    def test_a_renewal_whose_answer_got_lost_is_no_loss(self, watched: Proxy, store):
        turn = iter(range(1000))
        watched.afterwards = lambda request, answer: None if request.method == "PUT" and next(turn) % 2 == 1 else answer
        with store.claim(".claim", "me") as claim:
            time.sleep(3)
            assert not claim.lost.is_set()
            assert json.loads(store.read(".claim"))["count"] > 2

    def test_it_is_put_where_there_is_none_in_one_request(self, watched: Proxy, store):
        with store.claim(".claim", "me"):
            asked = [(one.method, one.headers.get("If-None-Match")) for one in watched.requests]
        assert asked == [("GET", None), ("PUT", "*")]

    def test_where_the_answer_to_that_got_lost_it_is_had_all_the_same(self, watched: Proxy, store):
        lost = iter([True])
        watched.afterwards = lambda request, answer: None if request.method == "PUT" and next(lost, False) else answer
        with store.claim(".claim", "me"):
            assert [one.method for one in watched.requests] == ["GET", "PUT", "PUT", "GET"]

    def test_where_others_put_theirs_at_the_same_moment_it_is_tried_again(self, watched: Proxy, store):
        conflict = Answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        conflicts = iter([conflict, conflict])
        watched.answer = lambda request: next(conflicts, None) if request.method == "PUT" else None
        with store.claim(".claim", "me"):
            assert [one.method for one in watched.requests][:4] == ["GET", "PUT", "PUT", "PUT"]

    def test_an_endpoint_without_conditions_will_do(self, watched: Proxy, store, owner):
        unknown = Answer(501, b"<Error><Code>NotImplemented</Code></Error>")
        watched.answer = lambda request: unknown if {"If-Match", "If-None-Match"} & set(request.headers) else None
        with store.claim(".claim", "me") as claim:
            time.sleep(1)
            assert not claim.lost.is_set()
            assert "(me)" in refused(store)
        kill(owner(store))
        with store.claim(".claim", "me"):
            pass
