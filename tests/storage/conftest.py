"""Stores for the tests of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_proxy import Proxy, proxy

from igcam_batch.storage import LocalStore


@pytest.fixture
def local_store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "root"))


@pytest.fixture
def s3_store(bucket: str):
    from igcam_batch.storage.s3 import S3Store

    return S3Store(f"s3://{bucket}/some/prefix")


@pytest.fixture
def watched(bucket: str, s3_server, monkeypatch) -> Iterator[Proxy]:
    """What the store asks on its way to the server."""
    with proxy(s3_server.endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield between
