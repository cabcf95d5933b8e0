"""The bytes of images: files, members of tars, and values of Parquet columns; each failure is one image's."""

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_proxy import Request, proxy
from s3_server import S3Server

from igcam_batch.sources import fetch as module
from igcam_batch.sources import find_place, open_source
from igcam_batch.sources.fetch import fetch
from igcam_batch.storage import open_store


def rows_of(place: Path) -> list[dict]:
    return [row for table in open_source(find_place(str(place))).tables for row in table.to_pylist()]


def test_files_come_in_the_order_of_the_rows_and_one_that_is_gone_costs_itself(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    rows = rows_of(tmp_path)
    (tmp_path / "b.jpg").unlink()
    found = list(fetch(rows))
    assert [row["image_id"] for row, _ in found] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [data for _, data in found][::2] == [b"a", b"c"]
    assert isinstance(found[1][1], FileNotFoundError)


def test_members_of_tars_are_read_by_their_place(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(3):
                info = tarfile.TarInfo(f"{number}.jpg")
                data = f"{shard} {number} ".encode() * 700
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    rows = rows_of(tmp_path)
    (tmp_path / "1.tar").unlink()
    found = [data for _, data in fetch([rows[5], rows[2], rows[0], rows[1]])]
    assert isinstance(found[0], FileNotFoundError)
    assert found[1:] == [f"0 {number} ".encode() * 700 for number in (2, 0, 1)]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Two files of seven images, three in a row group; the fifth of the first is missing."""
    for name in ("a", "b"):
        images = [None if (name, n) == ("a", 4) else {"bytes": f"{name}{n}".encode(), "path": None} for n in range(7)]
        table = pa.table({"image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=3)
    return tmp_path


def test_parquet_columns_are_read_row_group_by_row_group(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    whole = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, size: int, row_groups: list[int], **options: Any) -> Iterator[pa.RecordBatch]:
        read.extend(row_groups)
        return whole(self, size, row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    found = [data for _, data in fetch(rows_of(parquet)[2:12])]
    assert found[:2] == [b"a2", b"a3"]
    assert isinstance(found[2], OSError)
    assert str(found[2]) == "its row holds no image"
    assert found[3:] == [b"a5", b"a6", b"b0", b"b1", b"b2", b"b3", b"b4"]
    assert read == [0, 1, 2, 0, 1]


def test_a_parquet_file_that_changed_or_went_costs_its_own_images(parquet: Path) -> None:
    rows = rows_of(parquet)
    for row in rows:
        row["part"] |= {"size": None, "modified": None}  # a plan that does not know them
    pq.write_table(pq.read_table(parquet / "a.parquet").slice(0, 5), parquet / "a.parquet", row_group_size=3)
    (parquet / "b.parquet").write_bytes(b"PAR1 no longer")
    found = [data for _, data in fetch(rows)]
    assert found[:4] == [b"a0", b"a1", b"a2", b"a3"]
    assert all(isinstance(data, OSError) for data in found[4:])
    assert "fewer rows than when the audit was planned" in str(found[5])


def test_nothing_else_of_a_tar_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("1.jpg", b"one"), ("2.jpg", b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    rows = rows_of(tmp_path)
    monkeypatch.setattr(module, "read_uri", lambda uri: pytest.fail(f"read {uri}"))
    assert [data for _, data in fetch(rows[1:])] == [b"two"]


@pytest.mark.xdist_group("s3")
def test_files_in_s3_are_asked_for_sixteen_at_a_time_and_no_more(bucket: str, s3_server: S3Server, monkeypatch) -> None:
    store = open_store(f"s3://{bucket}/data")
    for number in range(48):
        store.write(f"{number:02d}.jpg", b"%d" % number)
    rows = [row for table in open_source(find_place(store.root)).tables for row in table.to_pylist()]
    now, most, lock = 0, 0, threading.Lock()
    with proxy(s3_server.endpoint) as between:

        def wait(_request: Request) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.2)
            with lock:
                now -= 1

        between.answer = wait
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        assert [data for _, data in fetch(rows)] == [b"%d" % number for number in range(48)]
        assert len(between.requests) == 48
    assert 8 < most <= 16
