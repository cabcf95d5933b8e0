"""Owning a prefix: an object that holds who owns it and is put anew every few seconds for as long as the owner lives.

No clock is compared with another: who finds such an object watches whether it changes.
"""

import errno
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from igcam_batch.storage.claim import Claim, refusal
from igcam_batch.storage.s3_client import client_for
from igcam_batch.storage.s3_errors import CONFLICT, MISSING, TAKEN, error_code

RENEW_SECONDS = 5.0
WATCH_SECONDS = 20.0  # an owner that is silent for so long is taken to be dead
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class _Seen:
    body: bytes
    etag: str

    @property
    def content(self) -> Mapping[str, Any]:
        """What its owner wrote; nothing where it is no such thing."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class _Object:
    """The object of a claim. It is asked for with little patience: what comes too late is of no use."""

    def __init__(self, uri: str, bucket: str, key: str) -> None:
        self._uri, self._at = uri, {"Bucket": bucket, "Key": key}

    def look(self) -> _Seen | None:
        try:
            with client_for(self._uri, quick=True) as client:
                answer = client.get_object(**self._at)
                return _Seen(answer["Body"].read(), answer["ETag"])
        except FileNotFoundError:
            return None

    def put(self, body: bytes, **condition: str) -> bool:
        """Put it, and say whether it is there now: not, where the condition does not hold."""
        with client_for(self._uri, quick=True) as client:
            for pause in (0.1, 0.3, 1.0, None):
                try:
                    client.put_object(**self._at, Body=body, **condition)
                    return True
                except ClientError as error:
                    if error_code(error) in CONFLICT and pause is not None:
                        time.sleep(pause)
                    elif error_code(error) in (*CONFLICT, *TAKEN, *MISSING):
                        break
                    else:
                        raise
        seen = self.look()
        return seen is not None and seen.body == body  # it is ours, and the answer that said so got lost

    def take(self, body: bytes, seen: _Seen | None) -> bool:
        """Put it in the place of what was seen there, None being nothing, and of nothing else."""
        try:
            return self.put(body, IfMatch=seen.etag) if seen else self.put(body, IfNoneMatch="*")
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
        if self.look() != seen:  # an endpoint without conditions: as near as one gets
            return False
        with client_for(self._uri, quick=True) as client:
            client.put_object(**self._at, Body=body)
        return True

    def delete(self) -> None:
        with client_for(self._uri, quick=True) as client:
            client.delete_object(**self._at)


class _Holder:
    """What one owner puts there, again and again."""

    def __init__(self, there: _Object, root: str, owner: str) -> None:
        self.claim = Claim(owner)
        self.stop = threading.Event()
        self._there, self._root = there, root
        self._token, self._count = secrets.token_hex(16), 0

    def get(self) -> None:
        """Put ours where there is none, or in the place of one that does not live."""
        while True:
            seen = self._there.look()
            if (seen is None or self._is_dead(seen)) and self._there.take(self._body(), seen):
                return

    def _is_dead(self, seen: _Seen) -> bool:
        """Watch another's; False where it goes away, InputError where it is renewed."""
        until = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            now = self._there.look()
            if now is None:
                return False
            if now.body != seen.body:
                raise refusal(self._root, str(now.content.get("owner", "")))
        return True

    def renew(self) -> None:
        """Until told to stop, or until it is another's."""
        while not self.stop.wait(RENEW_SECONDS):
            try:
                if not self._renew_once():
                    self.claim.lost.set()
                    return
            except OSError:  # S3 is away for a while; whose it is then shows when it is back
                continue

    def _renew_once(self) -> bool:
        seen = self._there.look()
        self._count += 1
        return seen is not None and self._is_ours(seen) and self._there.take(self._body(), seen)

    def release(self) -> None:
        """Leave nothing there that is ours; where S3 is away it stays, and is found dead."""
        with suppress(OSError):
            seen = self._there.look()
            if seen is not None and self._is_ours(seen):
                self._there.delete()

    def _is_ours(self, seen: _Seen) -> bool:
        return seen.content.get("token") == self._token

    def _body(self) -> bytes:
        return json.dumps({"owner": self.claim.owner, "token": self._token, "count": self._count}).encode()


@contextmanager
def claim_prefix(root: str, uri: str, bucket: str, key: str, owner: str) -> Iterator[Claim]:
    """Own a prefix while the block runs. See `Store.claim`.

    Args:
        root: the prefix, as people read it.
        uri: of the object, likewise.
        bucket: of the object.
        key: of the object.
        owner: who claims it.
    """
    holder = _Holder(_Object(uri, bucket, key), root, owner)
    holder.get()
    renewing = threading.Thread(target=holder.renew, name=f"claim of {root}", daemon=True)
    try:
        renewing.start()
        yield holder.claim
    finally:
        holder.stop.set()
        renewing.join()
        holder.release()
