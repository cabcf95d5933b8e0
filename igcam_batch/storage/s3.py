"""Objects in S3, or in what speaks its protocol (SeaweedFS, MinIO, Ceph): boto3 behind `Store`."""

import errno
import functools
import io
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from igcam_batch.errors import InputError
from igcam_batch.storage.claim import Claim
from igcam_batch.storage.s3_claim import claim_prefix
from igcam_batch.storage.s3_client import client_for
from igcam_batch.storage.s3_errors import BROKEN_BODY, error_code, is_of_all
from igcam_batch.storage.s3_file import RangedFile
from igcam_batch.storage.s3_listing import list_below
from igcam_batch.storage.store import ChangedError, Entry, Version

_MIB = 2**20
_READ_AHEAD = _MIB
_MULTIPART = 64 * _MIB
_PAUSES = (0.2, 1.0, 3.0)  # seconds before a body that broke off is asked for again
_PROBE_SECONDS = 10
_KEYS_OF_A_DELETE = 1000
_ANOTHER = "its ETag is another"


class S3Store:
    """The keys below a prefix. See `Store`.

    Endpoint, region and credentials are those of boto3 (AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, ...); without
    credentials, requests are unsigned. Holds no connection, so that it can be sent to another process.

    Args:
        root: `s3://BUCKET` or `s3://BUCKET/PREFIX`.

    Raises:
        InputError: `root` is no such URI.
    """

    at_once = 16

    def __init__(self, root: str) -> None:
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, prefix.rstrip("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}", bucket):
            raise InputError(f"{root}: `{bucket}` is no name of a bucket; write s3://BUCKET/PREFIX")
        if self._prefix and not _is_path(self._prefix):
            raise InputError(f"{root}: a prefix has no part that is empty, `.` or `..`; write s3://BUCKET/PREFIX")
        self.root = f"s3://{bucket}/{self._prefix}".rstrip("/")

    def uri(self, path: str) -> str:
        """`s3://BUCKET/PREFIX/` and `path`."""
        return f"{self.root}/{path}" if path else self.root

    def probe(self, path: str = "") -> None:
        """Ask for the name of one key, so that a wrong bucket, credential or endpoint is known within ten seconds.

        Of an object, its first byte is asked for: who may read it need not be allowed to list what lies beside it.

        Raises:
            InputError: what is wrong, and the way out.
        """
        outcome: SimpleQueue[Exception | None] = SimpleQueue()

        def ask() -> None:
            try:
                with client_for(self.uri(path), quick=True) as client:
                    if path:
                        self._ask_for_a_byte(client, path)
                    else:
                        client.list_objects_v2(Bucket=self._bucket, Prefix=self._below(""), MaxKeys=1)
                outcome.put(None)
            except Exception as error:  # whatever it is, it is the caller's
                outcome.put(error)

        # in a thread, as a name server, a host of many addresses, or a credential process can each take its own time
        Thread(target=ask, daemon=True).start()
        try:
            error = outcome.get(timeout=_PROBE_SECONDS)
        except Empty:
            line = f"no answer within {_PROBE_SECONDS} s; check AWS_ENDPOINT_URL, AWS_PROFILE and the network"
            raise InputError(f"{self.uri(path)}: {line}") from None
        if isinstance(error, OSError):
            raise InputError(f"{self.uri(path)}: {error.strerror}")
        if error is not None:
            raise error

    def _ask_for_a_byte(self, client: Any, path: str) -> None:
        try:
            client.get_object(Bucket=self._bucket, Key=self._key(path), Range="bytes=0-0")["Body"].close()
        except ClientError as error:
            if error_code(error) not in ("InvalidRange", "416"):  # it is empty
                raise

    def list(self, under: str = "", *, recursive: bool = True) -> Iterator[Entry]:
        """Objects below a prefix, in the order S3 lists them: by the bytes of the key, so `a.txt` before `a/1.txt`.

        Large directories are listed several at a time, see `s3_listing`. Left out beside hidden ones are keys that end
        with `/`, and those that are no path: with a part that is empty.
        """
        below = self._below(under.rstrip("/"))
        listed = list_below(functools.partial(self._page, under), below, _may_be_listed, self.at_once)
        if not recursive:
            pages = self._pages(under, below, {"Delimiter": "/"})
            listed = (found for page in pages for found in page.get("Contents", ()))
        for found in listed:
            name = found["Key"].removeprefix(below)
            if _is_path(name) and not any(part.startswith(".") for part in name.split("/")):
                path = f"{under.rstrip('/')}/{name}".lstrip("/")
                yield Entry(path, found["Size"], found["LastModified"].timestamp(), found.get("ETag"))

    def _page(self, under: str, prefix: str, **options: str) -> dict[str, Any]:
        with client_for(self.uri(under)) as client:
            page: dict[str, Any] = client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **options)
        return page

    def _pages(self, under: str, below: str, options: dict[str, str]) -> Iterator[dict[str, Any]]:
        with client_for(self.uri(under)) as client:
            yield from client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below, **options)

    def entry(self, path: str) -> Entry:
        """Size, time and ETag of an object."""
        head = self._head(path)
        return Entry(path, head["ContentLength"], head["LastModified"].timestamp(), head["ETag"])

    def read(self, path: str, version: Version | None = None) -> bytes:
        """The whole object. Versions are compared by their ETag alone, by S3 itself."""
        with self._of_version(path, version) as condition:
            return self._get(path, **condition)

    def read_range(self, path: str, start: int, length: int, version: Version | None = None) -> bytes:
        """A part of the object: one request."""
        with self._of_version(path, version) as condition:
            return self._range(path, start, length, **condition) if length > 0 else b""

    def open(self, path: str, version: Version | None = None) -> BinaryIO:
        """The object for reading in parts, each a request of 1 MiB or more; an error once it has been replaced."""
        head = self._head(path)
        if version and version.etag not in (None, head["ETag"]):
            raise ChangedError(errno.ESTALE, _ANOTHER, self.uri(path))
        fetch = functools.partial(self._range, path, IfMatch=head["ETag"])
        return io.BufferedReader(RangedFile(fetch, head["ContentLength"]), _READ_AHEAD)

    def _head(self, path: str) -> dict[str, Any]:
        key = self._key(path)
        with client_for(self.uri(path)) as client:
            head: dict[str, Any] = client.head_object(Bucket=self._bucket, Key=key)
        return head

    @contextmanager
    def _of_version(self, path: str, version: Version | None) -> Iterator[dict[str, str]]:
        """The condition of a GET; ChangedError where the block finds that it does not hold."""
        if version is None or version.etag is None:
            yield {}
            return
        try:
            yield {"IfMatch": version.etag}
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            raise ChangedError(errno.ESTALE, _ANOTHER, self.uri(path)) from None

    def write(self, path: str, data: bytes) -> None:
        """One PUT, or one multipart upload, of which nothing is seen before its end."""
        key = self._key(path)
        with client_for(self.uri(path)) as client:
            if len(data) <= _MULTIPART:
                client.put_object(Bucket=self._bucket, Key=key, Body=data)
            else:
                config = TransferConfig(multipart_threshold=_MULTIPART, multipart_chunksize=_MULTIPART // 4)
                client.upload_fileobj(io.BytesIO(data), self._bucket, key, Config=config)

    def claim(self, name: str, owner: str) -> AbstractContextManager[Claim]:
        """An object that is renewed every few seconds; one that is not is taken over, after 20 s of watching it."""
        return claim_prefix(self.root, self.uri(name), self._bucket, self._key(name), owner)

    def exists(self, path: str) -> bool:
        """Whether there is such an object; False too where there is no such bucket."""
        try:
            self._head(path)
        except FileNotFoundError:
            return False
        return True

    def is_lost(self, error: OSError, /) -> bool:
        """By what S3 said; where that tells nothing, as after many a 500, by whether it answers at all."""
        if is_of_all(error):
            return True
        if error.errno != errno.EIO:
            return False
        try:
            self.probe()
        except InputError:
            return True
        return False

    def delete(self, under: str) -> None:
        """Remove an object, and all below it as a prefix."""
        keys = [self._key(under)] if under and self.exists(under) else []
        for page in self._pages(under, self._below(under.rstrip("/")), {}):
            self._remove(under, keys + [found["Key"] for found in page.get("Contents", ())])
            keys = []

    def sweep(self, under: str) -> None:
        """Nothing: S3 has a PUT whole or not at all. Parts of uploads are for a bucket's lifecycle rule to remove."""

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove objects, a thousand with a request."""
        keys = map(self._key, paths)
        while some := list(islice(keys, _KEYS_OF_A_DELETE)):
            self._remove("", some)

    def _remove(self, under: str, keys: Sequence[str]) -> None:
        with client_for(self.uri(under)) as client:
            for first in range(0, len(keys), _KEYS_OF_A_DELETE):
                some = [{"Key": key} for key in keys[first : first + _KEYS_OF_A_DELETE]]
                answer = client.delete_objects(Bucket=self._bucket, Delete={"Objects": some, "Quiet": True})
                if failed := answer.get("Errors"):
                    raise ClientError({"Error": failed[0]}, "DeleteObjects")

    def _range(self, path: str, start: int, length: int, **options: str) -> bytes:
        return self._get(path, Range=f"bytes={start}-{start + length - 1}", **options)

    def _get(self, path: str, **options: str) -> bytes:
        """What a GET answers, asked for again when its bytes break off: botocore repeats only what comes before."""
        key, uri, tries = self._key(path), self.uri(path), 0
        while True:
            with client_for(uri) as client:
                try:
                    answer = client.get_object(Bucket=self._bucket, Key=key, **options)
                except ClientError as error:
                    if error_code(error) in ("InvalidRange", "416"):  # the object ends before
                        return b""
                    raise
                if "Range" in options and "ContentRange" not in answer:
                    raise OSError(errno.EIO, "the endpoint cannot read parts of an object", uri)
                try:
                    return bytes(answer["Body"].read())
                except BROKEN_BODY:
                    if tries == len(_PAUSES):
                        raise
            time.sleep(_PAUSES[tries])
            tries += 1

    def _below(self, under: str) -> str:
        return f"{key}/" if (key := self._key(under)) else ""

    def _key(self, path: str) -> str:
        if path and not _is_path(path):  # on its way a URL loses them, and then names something else
            raise OSError(errno.EINVAL, "a key in S3 has no part that is empty, `.` or `..` here", self.uri(path))
        return f"{self._prefix}/{path}".strip("/")


def _may_be_listed(prefix: str) -> bool:
    """Whether what is below a prefix is of interest: not, where its last part is empty, or hidden."""
    part = prefix.removesuffix("/").rpartition("/")[2]
    return bool(part) and not part.startswith(".")


def _is_path(name: str) -> bool:
    return not any(part in ("", ".", "..") for part in name.split("/"))
