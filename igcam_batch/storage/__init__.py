"""Bytes in and out, by path: list, read, and an atomic put. Knows neither images nor Ray."""

from igcam_batch.errors import InputError
from igcam_batch.storage.claim import Claim, this_process
from igcam_batch.storage.local import LocalStore
from igcam_batch.storage.store import ChangedError, Entry, PlaceError, Store, Version

__all__ = [
    "ChangedError",
    "Claim",
    "Entry",
    "LocalStore",
    "PlaceError",
    "Store",
    "Version",
    "open_store",
    "this_process",
]


def open_store(uri: str, *, follow_links: bool = True) -> Store:
    """The store that a path, a `file://` or an `s3://` URI names; InputError for a scheme there is no store for.

    On disk, nothing leads out of one that is opened with `follow_links=False`; see `LocalStore`.
    """
    scheme, separator, _ = uri.partition("://")
    if scheme == "s3" and separator:
        from igcam_batch.storage.s3 import S3Store  # boto3, for those who ask for it

        return S3Store(uri)
    if separator and scheme != "file":
        raise InputError(f"{uri}: {scheme}:// cannot be read; name a directory or an s3:// URI")
    return LocalStore(uri.removeprefix("file://"), follow_links=follow_links)
