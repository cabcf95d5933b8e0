"""S3 beyond what holds of every store, against a real server: what is asked of it, and how often."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_proxy import Answer, Proxy

from igcam_batch.storage import s3, s3_client
from igcam_batch.storage.s3 import S3Store
from igcam_batch.storage.s3_client import connect
from igcam_batch.tables.parquet import read_parquet

pytestmark = pytest.mark.xdist_group("s3")


def asked(between: Proxy) -> list[str]:
    return [request.method for request in between.requests]


class TestReading:
    def test_parquet_is_read_by_row_group_without_the_whole_object(self, watched, s3_store):
        rows, groups = 300_000, 10
        table = pa.table({"a": range(rows), "b": [str(number) * 10 for number in range(rows)]})
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=rows // groups, compression="none")
        s3_store.write("table.parquet", sink.getvalue())
        size = len(sink.getvalue())
        assert size > 10 * 2**20
        watched.requests.clear()
        with s3_store.open("table.parquet") as file:
            group = read_parquet(file, groups=[3])
        assert group["a"].to_pylist() == list(range(3 * rows // groups, 4 * rows // groups))
        assert asked(watched) == ["HEAD"] + ["GET"] * (len(watched.requests) - 1)
        assert len(watched.requests) < 8
        spans = [request.headers["Range"].removeprefix("bytes=").split("-") for request in watched.requests[1:]]
        assert sum(int(last) - int(first) + 1 for first, last in spans) < size / 2

    def test_the_rest_of_an_open_file_is_one_request(self, watched, s3_store):
        s3_store.write("large", b"x" * 5_000_000)
        watched.requests.clear()
        with s3_store.open("large") as file:
            file.seek(1000)
            assert len(file.read()) == 4_999_000
        assert asked(watched) == ["HEAD", "GET"]

    def test_a_range_is_one_request(self, watched, s3_store):
        s3_store.write("a", b"0123456789")
        watched.requests.clear()
        assert s3_store.read_range("a", 2, 3) == b"234"
        assert [request.headers["Range"] for request in watched.requests] == ["bytes=2-4"]

    def test_an_object_replaced_while_it_is_open_is_an_error(self, s3_store):
        s3_store.write("a", b"1" * 3_000_000)
        with s3_store.open("a") as file:
            assert file.read(1) == b"1"
            s3_store.write("a", b"2" * 3_000_000)
            file.seek(2_500_000)
            with pytest.raises(OSError, match="replaced while it was being read") as caught:
                file.read(1)
        assert caught.value.filename == s3_store.uri("a")

    def test_a_body_that_breaks_off_is_asked_for_again(self, watched, s3_store):
        s3_store.write("a", b"whole")
        short = iter([Answer(body=b"wh", headers={"Content-Length": "5"})] * 2)
        watched.answer = lambda request: next(short, None) if request.method == "GET" else None
        watched.requests.clear()
        assert s3_store.read("a") == b"whole"
        assert asked(watched) == ["GET"] * 3

    def test_many_threads_share_one_client(self, s3_store):
        for number in range(20):
            s3_store.write(f"{number}", str(number).encode())
        s3_client._client.cache_clear()
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda number: s3_store.read(str(number % 20)), range(200)))
        assert found == [str(number % 20).encode() for number in range(200)]
        assert s3_client._client.cache_info().currsize == 1

    def test_a_forked_child_makes_a_client_of_its_own(self, s3_store):
        s3_store.write("a", b"x")
        before = id(connect())
        child = os.fork()
        if child == 0:
            mine = s3_client._client.cache_info().currsize == 0 and s3_store.read("a") == b"x"
            os._exit(0 if mine else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert id(connect()) == before


class TestWriting:
    def test_a_small_object_is_one_put(self, watched, s3_store):
        s3_store.write("a", b"x" * 1_000_000)
        assert asked(watched) == ["PUT"]

    def test_a_large_object_goes_up_in_parts_and_is_there_when_all_are(self, watched, s3_store, monkeypatch):
        monkeypatch.setattr(s3, "_MULTIPART", 20 * 2**20)
        old, new, there = b"old", os.urandom(21 * 2**20), []
        s3_store.write("large", old)
        watched.requests.clear()
        watched.answer = lambda request: there.append(s3_store.read("large")) if request.method == "POST" else None
        s3_store.write("large", new)
        assert there == [old, old]  # as it is begun, and as it is completed
        assert sorted(set(asked(watched)) - {"GET"}) == ["POST", "PUT"]
        assert asked(watched).count("PUT") == 5
        assert s3_store.read("large") == new

    def test_of_one_that_cannot_be_finished_nothing_is_left(self, bucket, s3_server, watched, s3_store, monkeypatch):
        monkeypatch.setattr(s3, "_MULTIPART", 20 * 2**20)
        refused = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        watched.answer = lambda request: refused if "partNumber=3" in request.path else None
        with pytest.raises(PermissionError, match="access denied") as caught:
            s3_store.write("large", bytes(21 * 2**20))
        assert caught.value.filename == s3_store.uri("large")
        assert not s3_store.exists("large")
        assert not s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads")

    def test_more_than_a_page_is_listed_and_deleted_and_no_more_than_that(self, bucket, s3_store):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: s3_store.write(f"a/{number:04d}", b""), range(1005)))
        S3Store(f"s3://{bucket}").write("some/prefix-beside/a", b"")
        S3Store(f"s3://{bucket}").write("a/1", b"")
        assert [entry.path for entry in s3_store.list("a")] == [f"a/{number:04d}" for number in range(1005)]
        s3_store.delete("a")
        assert [entry.path for entry in S3Store(f"s3://{bucket}").list()] == ["a/1", "some/prefix-beside/a"]

    def test_a_key_that_marks_a_directory_is_no_file(self, bucket, s3_server, s3_store):
        s3_server.client().put_object(Bucket=bucket, Key="some/prefix/a/")
        s3_store.write("a/1", b"")
        assert [entry.path for entry in s3_store.list()] == ["a/1"]
