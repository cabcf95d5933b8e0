"""Stores for the tests of this room."""

from pathlib import Path

import pytest

from igcam_batch.storage import LocalStore


@pytest.fixture
def local_store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "root"))


@pytest.fixture
def s3_store(bucket: str):
    from igcam_batch.storage.s3 import S3Store

    return S3Store(f"s3://{bucket}/some/prefix")
