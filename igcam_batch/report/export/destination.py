"""DIR of an export: a directory or an S3 prefix that holds nothing else, and what its files are called."""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore, Store, open_store

MARK = "export.json"
_PLACES = ("overlays", "maps", "boxes", "data", "fields", "samples.json", "metadata.json", "index.parquet")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 60  # characters of an image's name that are kept


def open_destination(directory: str, overwrite: bool = False) -> Store:
    """The store of DIR, empty but for the mark that it is ours.

    Args:
        directory: a path or an `s3://` URI.
        overwrite: whether an earlier export in it is removed. Nothing else ever is.

    Raises:
        InputError: it is a file, it holds an export and `overwrite` is not given, or it holds anything else.
    """
    store = open_store(directory)
    if isinstance(store, LocalStore) and Path(store.root).is_file():
        raise InputError(f"{directory}: is a file; name a directory, or an s3:// URI")
    store.probe()
    if store.exists(MARK):
        if not overwrite:
            raise InputError(f"{directory}: holds an export; name another DIR, or --overwrite it")
        for place in (*_PLACES, MARK):
            store.delete(place)
    other = next(iter(store.list()), None)
    if other is not None:
        raise InputError(f"{directory}: holds {other.path}, which is no part of an export; name another DIR")
    mark(store, {"state": "unfinished"})
    return store


def mark(store: Store, details: Mapping[str, Any]) -> None:
    """Put export.json, by which DIR is known as an export."""
    store.write(MARK, (json.dumps(details, indent=2, ensure_ascii=False) + "\n").encode())


def file_name(image_id: str, suffix: str) -> str:
    """A name for a file about an image: its own name as far as it is plain, and a digest that tells it from others.

    Of ASCII letters, digits, `.`, `_` and `-`, at most 100 characters, never hidden, never a path; the same image has
    the same name always, and another image another one, also where case does not count.
    """
    stem = re.split(r"[/\\]", image_id)[-1].rpartition(".")
    plain = _ODD.sub("_", stem[0] or stem[2])[:_LONGEST].strip("._-") or "image"
    return f"{plain}-{blake2b(image_id.encode(), digest_size=8).hexdigest()}{suffix}"


def plain_name(method: str) -> str:
    """A method as part of a path; URLs take `+` for a space."""
    return _ODD.sub("_", method.replace("+", "p")).strip("._") or "method"
