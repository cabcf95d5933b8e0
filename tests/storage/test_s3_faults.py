"""Storage while a tenth of all requests goes wrong: nothing is lost, nothing is raised, and answers stay true."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.config import Config
from s3_faults import KINDS, Faults
from s3_proxy import Proxy

from igcam_batch.storage import s3, s3_client
from igcam_batch.storage.s3 import S3Store

pytestmark = pytest.mark.xdist_group("s3")

_READ_TIMEOUT = 0.7


@pytest.fixture
def faults(watched: Proxy, monkeypatch) -> Iterator[Faults]:
    """A server that fails one request in ten, and a client that waits less long for it than people's do."""
    monkeypatch.setattr(s3_client, "_PATIENT", s3_client._PATIENT.merge(Config(read_timeout=_READ_TIMEOUT)))
    monkeypatch.setattr(s3, "_PAUSES", (0.05, 0.1, 0.2))
    monkeypatch.setattr(s3, "_MULTIPART", 2**20)
    s3_client._client.cache_clear()
    chance = Faults(share=0.1, stall=2 * _READ_TIMEOUT, seed=7)
    watched.answer, watched.afterwards = chance.before, chance.after
    yield chance
    s3_client._client.cache_clear()


def test_what_was_written_is_what_is_read(faults: Faults, s3_store: S3Store, monkeypatch) -> None:
    page = S3Store._page
    monkeypatch.setattr(S3Store, "_page", lambda self, *asked, **options: page(self, *asked, MaxKeys=10, **options))
    chance = random.Random(1)
    written = {f"{number % 3}/{number:03d}": chance.randbytes(chance.randrange(200_000)) for number in range(60)}
    large = chance.randbytes(11_000_000)  # in three parts
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: s3_store.write(path, written[path]), written))
        s3_store.write("large", large)
        read = list(pool.map(s3_store.read, written))
        middle = list(pool.map(lambda path: s3_store.read_range(path, 1000, 5000), written))
        there = list(pool.map(s3_store.exists, [*written, "nothing"]))
        entries = list(pool.map(s3_store.entry, written))
    assert read == list(written.values())
    assert middle == [data[1000:6000] for data in written.values()]
    assert there == [True] * len(written) + [False]
    assert [entry.size for entry in entries] == [len(data) for data in written.values()]
    for _ in range(3):
        assert [entry.path for entry in s3_store.list()] == sorted([*written, "large"])
    with s3_store.open("large") as file:
        for _ in range(20):
            start = chance.randrange(len(large))
            file.seek(start)
            assert file.read(300_000) == large[start : start + 300_000]
    assert set(faults.happened) == set(KINDS)
