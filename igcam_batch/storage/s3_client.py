"""One connection pool to S3 for all stores of a process."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, InvalidConfigError
from botocore.utils import parse_timestamp
from urllib3.exceptions import HTTPError

from igcam_batch.storage.s3_errors import as_os_error

_PATIENT = Config(
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=64,
    retries={"mode": "adaptive", "total_max_attempts": 8},
)
_QUICK = Config(connect_timeout=3, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2})


@contextmanager
def client_for(uri: str, *, quick: bool = False) -> Iterator[Any]:
    """The client, for a `with` block whose errors become OSErrors about `uri`.

    Args:
        uri: what is asked for.
        quick: give up after seconds, to tell a person early, rather than to sit out what passes.
    """
    client = None
    try:
        client = connect(quick)
        yield client
    except (BotoCoreError, ClientError, Boto3Error, HTTPError) as error:
        raise as_os_error(error, uri, client) from None


def connect(quick: bool = False) -> Any:
    """A client for the AWS settings as they are now: one for each process, made when first asked for.

    Credentials come from where boto3 looks for them; where it finds none at all, requests are unsigned.
    """
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    with _making:
        return _client(settings, quick)


def profiles() -> list[str]:
    """The profiles that this machine's AWS files name."""
    return list(boto3.Session().available_profiles)


@functools.lru_cache(maxsize=4)
def _client(settings: frozenset[tuple[str, str]], quick: bool) -> Any:
    config = _QUICK if quick else _PATIENT
    try:
        # of its own: the session that boto3 shares is not for threads; and botocore knows only AWS_DEFAULT_REGION
        core = botocore.session.get_session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        session = boto3.Session(region_name=dict(settings).get("AWS_REGION") or None, botocore_session=core)
        if session.get_credentials() is None:
            config = config.merge(Config(signature_version=UNSIGNED))
        return session.client("s3", config=config)
    except BotoCoreError:
        raise
    except ValueError:  # repeats the address, which may have a password in it
        raise InvalidConfigError(error_msg="AWS_ENDPOINT_URL is no address; write http://HOST:PORT") from None


def _moment(value: Any) -> datetime:
    """A timestamp of an answer; of the form that listings have, without the parser that guesses forms.

    That one takes three quarters of the time of reading a listing, and Python reads one answer at a time.
    """
    if isinstance(value, str) and value[10:11] == "T" and value.endswith("Z"):
        return datetime.fromisoformat(value)
    moment: datetime = parse_timestamp(value)
    return moment


_making = threading.Lock()


def _after_fork() -> None:
    """A child has connections and a lock of its own."""
    global _making
    _making = threading.Lock()
    _client.cache_clear()


os.register_at_fork(after_in_child=_after_fork)
