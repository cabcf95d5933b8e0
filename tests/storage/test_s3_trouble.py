"""What is said when S3 is not there, or does not do as it should: one line, with the way out and without secrets."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from s3_proxy import Answer, Proxy, proxy

from igcam_batch.errors import InputError
from igcam_batch.storage import open_store, s3
from igcam_batch.storage.s3 import S3Store
from igcam_batch.storage.s3_client import connect
from igcam_batch.storage.s3_errors import as_os_error

SECRET = "hush/hush+secret"
LISTING = """<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"""
ITEM = "<Contents><Key>{}</Key><LastModified>2020-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>"


@pytest.fixture(autouse=True)
def _settings(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def stub(monkeypatch) -> Iterator[Proxy]:
    with proxy() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server


@pytest.fixture
def store() -> S3Store:
    return S3Store("s3://bucket/prefix")


class TestUri:
    def test_takes_a_bucket_with_a_prefix_or_without(self):
        assert open_store("s3://bucket").root == open_store("s3://bucket/").root == "s3://bucket"
        assert open_store("s3://bucket/a/b/").root == "s3://bucket/a/b"
        assert open_store("s3://bucket").uri("a.png") == "s3://bucket/a.png"
        assert open_store("s3://bucket/a").uri("b/c.png") == "s3://bucket/a/b/c.png"

    @pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://a/b", "s3://a b/c", "s3://user:password@host/b"])
    def test_refuses_what_names_no_bucket(self, uri):
        with pytest.raises(InputError, match="no name of a bucket; write s3://BUCKET/PREFIX"):
            open_store(uri)

    @pytest.mark.parametrize("uri", ["s3://bucket//a", "s3://bucket/a//b", "s3://bucket/../b", "s3://bucket/./b"])
    def test_refuses_a_prefix_that_an_address_would_lose(self, uri):
        with pytest.raises(InputError, match="a prefix has no part that is empty"):
            open_store(uri)

    @pytest.mark.parametrize("path", ["../other", "a/../b", "a//b", "/a", "a/", "./a"])
    def test_refuses_a_path_that_an_address_would_lose(self, store, stub, path):
        for call in (store.read, store.open, store.exists, store.delete, lambda path: store.write(path, b"")):
            if (call, path) != (store.delete, "a/"):
                with pytest.raises(OSError, match="no part that is empty"):
                    call(path)
        assert stub.requests == []


class TestListing:
    def test_leaves_out_keys_that_are_no_path(self, store, stub):
        names = ["", "../up.png", "a/../../up.png", "a//b.png", "/etc/passwd", "a/", ".git/x", "a/./b", "a/b.png"]
        body = LISTING.format("".join(ITEM.format(f"prefix/{name}") for name in names)).encode()
        stub.answer = lambda _request: Answer(body=body)
        assert [entry.path for entry in store.list()] == ["a/b.png"]

    @pytest.mark.parametrize(
        ("written", "modified"),
        [
            ("2020-01-01T00:00:00Z", 1577836800.0),
            ("2020-01-01T00:00:00.250Z", 1577836800.25),
            ("2020-01-01T01:00:00+01:00", 1577836800.0),
            ("Wed, 01 Jan 2020 00:00:00 GMT", 1577836800.0),
            ("1577836800", 1577836800.0),
        ],
    )
    def test_times_are_read_in_every_form_that_servers_write(self, store, stub, written, modified):
        item = ITEM.format("prefix/a.png").replace("2020-01-01T00:00:00Z", written)
        stub.answer = lambda _request: Answer(body=LISTING.format(item).encode())
        assert [entry.modified for entry in store.list()] == [modified]

    def test_a_delete_that_fails_for_one_object_is_an_error(self, store, stub):
        refused = "<Error><Key>prefix/a/1</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        bodies = {"GET": LISTING.format(ITEM.format("prefix/a/1")), "POST": f"<DeleteResult>{refused}</DeleteResult>"}
        stub.answer = lambda request: Answer(
            404 if request.method == "HEAD" else 200, bodies.get(request.method, "").encode()
        )
        with pytest.raises(PermissionError, match="s3:DeleteObject"):
            store.delete("a")


class TestBody:
    def test_one_that_always_breaks_off_is_an_error(self, store, stub, monkeypatch):
        monkeypatch.setattr(s3, "_PAUSES", (0, 0))
        stub.answer = lambda _request: Answer(body=b"ha", headers={"Content-Length": "4"})
        with pytest.raises(OSError, match="broke off, also when read again") as caught:
            store.read("a")
        assert caught.value.filename == "s3://bucket/prefix/a"
        assert len(stub.requests) == 3

    def test_an_endpoint_that_cannot_read_parts_is_an_error(self, store, stub):
        stub.answer = lambda _request: Answer(body=b"the whole object")
        with pytest.raises(OSError, match="cannot read parts"):
            store.read_range("a", 4, 5)


class TestEndpoint:
    def test_one_that_refuses_connections_is_told_within_seconds(self, store, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(InputError, match=rf"^s3://bucket/prefix: cannot connect to http://127.0.0.1:{port}; check"):
            store.probe()
        assert time.monotonic() - start < 5

    def test_one_that_says_nothing_is_told_within_ten_seconds(self, store, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            start = time.monotonic()
            with pytest.raises(
                InputError, match=f"^s3://bucket/prefix: {endpoint} does not answer; check AWS_ENDPOINT"
            ):
                store.probe()
            assert time.monotonic() - start < 11

    def test_no_step_takes_longer_than_the_limit_of_all(self, store, monkeypatch):
        monkeypatch.setattr(s3, "_PROBE_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(InputError, match=r"no answer within 0\.3 s; check"):
                store.probe()

    @pytest.mark.parametrize(
        "address", [f"nonsense:{SECRET}", f"http://user:{SECRET}@127.0.0.1:1", "http://user:hush@127.0.0.1:1"]
    )
    def test_a_password_in_the_address_is_not_shown(self, store, monkeypatch, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(InputError, match="AWS_ENDPOINT_URL") as caught:
            store.probe()
        assert "hush" not in repr(caught.value)

    def test_settings_that_do_not_hold_are_named(self, store, monkeypatch):
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(InputError, match=r"the AWS settings do not hold: .*nobody"):
            store.probe()
        monkeypatch.delenv("AWS_PROFILE")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(InputError, match=r"credentials could not be had .*AWS_SECRET_ACCESS_KEY"):
            store.probe()


@pytest.mark.parametrize(
    ("status", "code", "kind", "line"),
    [
        (404, "NoSuchKey", FileNotFoundError, "No such file or directory"),
        (404, "404", FileNotFoundError, "No such file or directory"),
        (404, "NoSuchBucket", FileNotFoundError, "check its name, and AWS_ENDPOINT_URL"),
        (403, "AccessDenied", PermissionError, "takes s3:ListBucket and s3:GetObject"),
        (403, "403", PermissionError, "takes s3:ListBucket and s3:GetObject"),
        (403, "SignatureDoesNotMatch", PermissionError, "SignatureDoesNotMatch: the credentials are not valid at http"),
        (400, "ExpiredToken", PermissionError, "ExpiredToken: the credentials have expired; renew them"),
        (403, "RequestTimeTooSkewed", PermissionError, "the clock of this machine is wrong"),
        (301, "PermanentRedirect", OSError, "the bucket is in another region, eu-west-1; set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", OSError, "the bucket is in another region, eu-west-1; set AWS_REGION"),
        (412, "PreconditionFailed", OSError, "replaced while it was being read"),
        (503, "SlowDown", OSError, "answered 503 SlowDown, also when asked again"),
        (500, f"Odd {SECRET}", OSError, r"answered 500 \?, also"),
    ],
)
def test_an_answer_becomes_one_line_that_repeats_nothing_else_of_it(stub, status, code, kind, line):
    answer = {
        "Error": {"Code": code, "Message": f"you signed with {SECRET}", "StringToSign": SECRET, "Region": "eu-west-1"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    error = as_os_error(ClientError(answer, "GetObject"), "s3://bucket/a", connect())
    assert type(error) is kind
    with pytest.raises(kind, match=line):
        raise error
    assert error.filename == "s3://bucket/a"
    assert "\n" not in error.strerror
    assert "hush" not in repr(error)
