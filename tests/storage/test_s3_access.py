"""Who may do what at a real S3 server, and what is said to who may not."""

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from igcam_batch.errors import InputError
from igcam_batch.storage import open_store
from igcam_batch.storage.s3 import S3Store

pytestmark = pytest.mark.xdist_group("s3")


class TestAccess:
    @pytest.fixture(autouse=True)
    def _an_object(self, bucket, s3_store) -> None:
        s3_store.write("a", b"x")

    def failing(self, store: S3Store) -> Iterator[Exception]:
        calls = [store.probe, lambda: list(store.list()), lambda: store.read("a"), lambda: store.open("a")]
        for call in [*calls, lambda: store.exists("a"), lambda: store.write("a", b""), lambda: store.delete("a")]:
            with pytest.raises((InputError, OSError)) as caught:
                call()
            yield caught.value

    def test_a_bucket_open_to_all_is_read_without_credentials(self, bucket, s3_server, s3_store, monkeypatch):
        everyone = (
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", '
            f'"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::{bucket}", '
            f'"arn:aws:s3:::{bucket}/*"]}}]}}'
        )
        s3_server.client().put_bucket_policy(Bucket=bucket, Policy=everyone)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        s3_store.probe()
        assert [entry.path for entry in s3_store.list()] == ["a"]
        assert s3_store.read("a") == b"x"
        with pytest.raises(PermissionError):
            s3_store.write("a", b"y")

    def test_one_that_is_not_asks_for_credentials(self, s3_store, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        for error in self.failing(s3_store):
            assert "no credentials were found" in str(error)
            assert "AWS_PROFILE" in str(error)
            assert """--runtime-env-json '{"env_vars": ...}'""" in str(error)

    @pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
    def test_wrong_credentials_are_said_and_never_shown(self, s3_server, s3_store, monkeypatch, name):
        monkeypatch.setenv(name, "wrongwrongwrong")
        errors = list(self.failing(s3_store))
        for error in errors:
            texts = f"{error!r} {error} {error.__cause__!r} {pickle.dumps(error)!r} {s3_store!r}"
            assert error.__suppress_context__ or error.__context__ is None
            assert "wrongwrongwrong" not in texts
            assert s3_server.access_key not in texts
            assert s3_server.secret_key not in texts
            assert s3_store.root in texts
        assert "the credentials are not valid" in str(errors[0])
        assert all(isinstance(error, PermissionError) for error in errors[1:])

    def test_a_missing_bucket_is_named(self, s3_server):
        store = open_store("s3://no-such-bucket/prefix")
        with pytest.raises(InputError, match=f"^s3://no-such-bucket/prefix: no such bucket at {s3_server.endpoint}; "):
            store.probe()
        for call in (lambda: list(store.list()), lambda: store.read("a"), lambda: store.write("a", b"")):
            with pytest.raises(FileNotFoundError, match="no such bucket"):
                call()

    def test_a_bucket_that_answers_is_known_at_once_also_where_nothing_is_below_the_prefix(self, bucket):
        start = time.monotonic()
        S3Store(f"s3://{bucket}/nothing/here").probe()
        assert time.monotonic() - start < 5


def test_only_who_opens_s3_imports_boto3(bucket):
    code = f"""
import sys
from igcam_batch.storage import open_store
open_store("/data")
assert "boto3" not in sys.modules
open_store("s3://{bucket}").probe()
assert "boto3" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
