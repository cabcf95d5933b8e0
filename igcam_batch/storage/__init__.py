"""Bytes in and out, by path: list, read, and an atomic put. Knows neither images nor Ray."""

from igcam_batch.errors import InputError
from igcam_batch.storage.local import LocalStore
from igcam_batch.storage.store import Entry, Store

__all__ = ["Entry", "LocalStore", "Store", "open_store"]


def open_store(uri: str) -> Store:
    """The store that a path or URI names; InputError for a scheme there is no store for."""
    scheme, separator, _ = uri.partition("://")
    if separator and scheme != "file":
        raise InputError(f"{uri}: {scheme}:// cannot be read yet; name a directory")
    return LocalStore(uri.removeprefix("file://"))
