"""A file that is put only where there is none: one of many wins, and what a call says of itself is true."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_proxy import Answer, Proxy

from igcam_batch.storage import Store, s3
from igcam_batch.storage.s3 import S3Store


def names(store: Store) -> list[str]:
    """Of all files, hidden ones too."""
    return [path.name for path in Path(store.root).iterdir()]


@pytest.fixture(params=["local_store", pytest.param("s3_store", marks=pytest.mark.xdist_group("s3"))])
def store(request) -> Store:
    return request.getfixturevalue(request.param)


class TestEveryStore:
    def test_the_first_puts_it_and_the_second_leaves_it(self, store):
        assert store.create("a/b", b"one")
        assert not store.create("a/b", b"another")
        assert store.read("a/b") == b"one"
        assert [entry.path for entry in store.list()] == ["a/b"]

    def test_after_it_is_deleted_it_can_be_put_again(self, store):
        store.create("a", b"one")
        store.delete("a")
        assert store.create("a", b"two")
        assert store.read("a") == b"two"

    def test_of_many_at_once_one_wins(self, store):
        for turn in range(5):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(lambda n, path=f"{turn}": store.create(path, b"%d" % n), range(8)))
            assert won.count(True) == 1
            assert store.read(f"{turn}") == b"%d" % won.index(True)


class TestOnDisk:
    @pytest.fixture
    def store(self, local_store):
        return local_store

    @pytest.fixture
    def no_links(self, monkeypatch) -> None:
        def refuse(*_arguments: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def test_nothing_else_is_left(self, store):
        store.create("a", b"x")
        store.create("a", b"y")
        assert names(store) == ["a"]

    @pytest.mark.usefixtures("no_links")
    def test_a_file_system_without_hard_links_will_do(self, store):
        assert store.create("a", b"one")
        assert not store.create("a", b"two")
        assert (store.read("a"), names(store)) == (b"one", ["a"])

    @pytest.mark.usefixtures("no_links")
    def test_there_too_one_of_many_wins(self, store):
        for turn in range(20):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(lambda n, path=f"{turn}": store.create(path, b"%d" % n), range(8)))
            assert won.count(True) == 1
            assert store.read(f"{turn}") == b"%d" % won.index(True)

    def test_a_link_whose_answer_got_lost_is_this_calls_own(self, store, monkeypatch):
        link: Callable[..., None] = os.link

        def twice(source: Path, target: Path) -> None:
            link(source, target)
            link(source, target)

        monkeypatch.setattr(os, "link", twice)
        assert store.create("a", b"one")


@pytest.mark.xdist_group("s3")
class TestInS3:
    def test_is_one_request(self, watched: Proxy, s3_store: S3Store):
        s3_store.create("a", b"x")
        assert [(one.method, one.headers.get("If-None-Match")) for one in watched.requests] == [("PUT", "*")]

    def test_a_repeat_after_a_lost_answer_tells_the_truth(self, watched: Proxy, s3_store: S3Store):
        lost = iter([True])
        watched.afterwards = lambda request, answer: None if request.method == "PUT" and next(lost, False) else answer
        assert s3_store.create("a", b"mine")
        assert [one.method for one in watched.requests] == ["PUT", "PUT", "GET"]
        lost = iter([True])
        assert not s3_store.create("a", b"another's")

    def test_a_conflict_is_tried_again(self, watched: Proxy, s3_store: S3Store, monkeypatch):
        monkeypatch.setattr(s3, "_CONFLICT_PAUSES", (0, 0))
        conflict = Answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        answers = iter([conflict, conflict])
        watched.answer = lambda _request: next(answers, None)
        assert s3_store.create("a", b"x")
        watched.answer = lambda _request: conflict
        with pytest.raises(OSError, match="at the same moment"):
            s3_store.create("b", b"x")

    def test_an_endpoint_that_does_not_know_the_condition_is_asked_first(self, watched: Proxy, s3_store: S3Store):
        unknown = Answer(501, b"<Error><Code>NotImplemented</Code></Error>")
        watched.answer = lambda request: unknown if "If-None-Match" in request.headers else None
        assert s3_store.create("a", b"one")
        assert not s3_store.create("a", b"two")
        assert s3_store.read("a") == b"one"
