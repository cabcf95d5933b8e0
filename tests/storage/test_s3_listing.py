"""A listing of many prefixes at a time is the very one that S3 gives in one go, and costs few requests more."""

import random
import threading
import time
from collections.abc import Iterator

import pytest
from s3_listings import Listings
from s3_proxy import Answer, Proxy, proxy

from igcam_batch.storage.s3 import S3Store

_PARTS = ["a", "a.txt", "a-b", "a0", "A", "b", "ab", ".h", "", "..", "ä é", "a b+c%20", "~", "z&<"]


@pytest.fixture
def server(monkeypatch) -> Iterator[Proxy]:
    with proxy() as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield between


def listed(store: S3Store, under: str = "") -> list[str]:
    return [entry.path for entry in store.list(under)]


def expected(keys: set[str]) -> list[str]:
    """By the order of their bytes, without what is hidden and what is no path."""
    parts = {key: key.split("/") for key in keys}
    shown = [key for key in keys if not any(part == "" or part.startswith(".") for part in parts[key])]
    return sorted(shown, key=str.encode)


class TestOrder:
    @pytest.mark.parametrize("seed", range(12))
    @pytest.mark.parametrize("at_once", [1, 3, 10])
    def test_is_that_of_one_long_listing(self, server, seed, at_once):
        chance = random.Random(seed)
        width = chance.choice([2, 3, len(_PARTS)])
        names = chance.sample(_PARTS, width)
        keys = {
            "/".join([*(chance.choice(names) for _ in range(chance.randrange(4))), f"{chance.choice(names)}{number}"])
            for number in range(120)
        }
        server.answer = Listings({f"p/{key}" for key in keys} | {"p/", "pp/x", "o"}, at_once)
        assert listed(S3Store("s3://bucket/p")) == expected(keys)

    @pytest.mark.parametrize("at_once", [1, 2, 16])
    def test_is_the_same_however_many_requests_are_made_at_a_time(self, server, at_once):
        keys = {f"{name}/{number:02d}" for name in "abcd" for number in range(20)}
        server.answer = Listings(keys, 8)
        store = S3Store("s3://bucket")
        store.at_once = at_once
        assert listed(store) == sorted(keys)

    def test_a_file_and_a_directory_of_nearly_the_same_name(self, server):
        keys = {f"{name}/{number:02d}" for name in ("a", "a-b", "a.txt", "a0") for number in range(20)}
        keys |= {"a!", "a+", "a.", "a.txt-", "a0.png", "a1"}
        server.answer = Listings(keys, 8)
        assert listed(S3Store("s3://bucket")) == expected(keys)

    def test_in_a_directory_of_the_store_too(self, server):
        keys = {f"x/{name}/{number:02d}" for name in "abc" for number in range(20)}
        server.answer = Listings(keys, 8)
        assert listed(S3Store("s3://bucket"), "x") == sorted(keys)


class TestRequests:
    def test_large_directories_are_listed_at_the_same_time(self, server):
        keys = {f"train/{name:02d}/{number:02d}" for name in range(20) for number in range(40)}
        now, most, lock, answer = 0, 0, threading.Lock(), Listings(keys, 10)

        def slowly(request) -> Answer:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.1)
            with lock:
                now -= 1
            return answer(request)

        server.answer = slowly
        assert listed(S3Store("s3://bucket")) == sorted(keys)
        assert most >= 8
        assert len(server.requests) < 1.25 * len(keys) / 10 + 5

    @pytest.mark.parametrize(
        "keys",
        [{f"{n:04d}.png" for n in range(200)}, {f"{n:04d}/1.png" for n in range(200)}],
        ids=["one flat directory", "many small ones"],
    )
    def test_where_nothing_is_gained_there_is_none_more(self, server, keys):
        server.answer = Listings(keys, 10)
        assert listed(S3Store("s3://bucket")) == sorted(keys)
        assert len(server.requests) == 20

    def test_who_looks_for_one_asks_once(self, server):
        server.answer = Listings({f"a/{number:03d}" for number in range(100)}, 10)
        assert next(S3Store("s3://bucket").list()).path == "a/000"
        assert len(server.requests) == 1

    def test_no_more_is_asked_for_than_there_is_room(self, server):
        keys = {f"{name}/{number:04d}" for name in "ab" for number in range(1000)}
        server.answer = Listings(keys, 10)
        listing = S3Store("s3://bucket").list()
        for _ in range(11):
            next(listing)
        time.sleep(0.5)
        assert len(server.requests) < 2 * (8 + 2) + 5
        assert len(list(listing)) == 2000 - 11

    def test_who_stops_taking_stops_the_threads(self, server):
        server.answer = Listings({f"{name}/{number:04d}" for name in "ab" for number in range(1000)}, 10)
        listing = S3Store("s3://bucket").list()
        for _ in range(11):
            next(listing)
        listing.close()
        until = time.monotonic() + 5
        while any(thread.name.startswith("listing of") for thread in threading.enumerate()):
            assert time.monotonic() < until
            time.sleep(0.05)

    def test_an_error_below_a_prefix_is_the_listings(self, server):
        answer = Listings({f"{name}/{number:02d}" for name in "abc" for number in range(30)}, 10)
        refused = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        server.answer = lambda request: refused if "prefix=c" in request.path else answer(request)
        with pytest.raises(PermissionError, match="s3:ListBucket"):
            listed(S3Store("s3://bucket"))


@pytest.mark.xdist_group("s3")
def test_a_real_server_lists_the_same(s3_store: S3Store, monkeypatch) -> None:
    """SeaweedFS gives a page of no more keys than are asked for; its order is its own where names begin alike."""
    keys = {f"{name}/{number:02d}" for name in ("a", "b", "c/d") for number in range(12)}
    for key in keys:
        s3_store.write(key, b"x")
    page = S3Store._page
    monkeypatch.setattr(S3Store, "_page", lambda self, *asked, **options: page(self, *asked, MaxKeys=5, **options))
    assert listed(s3_store) == sorted(keys)
