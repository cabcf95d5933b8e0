"""The bytes of a shard's images: each a file of its own, or a part of a larger one."""

import errno
import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError, one_line
from igcam_batch.storage import ChangedError, PlaceError, Store, Version, open_store
from igcam_batch.storage.ahead import ahead

Row = Mapping[str, Any]
_ROWS_AT_ONCE = 64  # of a column of images
_FROM_S3, _FROM_DISK = 16, 2  # images that are asked for at a time; a warm disk answers before a thread is there


def fetch(
    rows: list[dict[str, Any]], within: str | None = None, root: str | None = None, *, as_planned: bool = True
) -> Iterator[tuple[dict[str, Any], bytes | OSError]]:
    """Each row of a manifest with the bytes of its image, or with why they cannot be had; in the order of the rows.

    Several are asked for at a time, so that memory holds those few beside the one that is taken, and not the shard.

    Args:
        rows: of the manifest.
        within: a directory on disk that links do not lead out of; None: they lead anywhere.
        root: INPUT's directory, which is looked at where a file on disk cannot be read; None: none is.
        as_planned: whether a file that was changed since is refused. Parts of larger files always are.

    Raises:
        PlaceError: it is not for the image that it cannot be read: S3 is away, credentials expired, a disk is gone.
    """
    attempt = partial(_attempt, within=within, root=root, as_planned=as_planned)
    for column, together in groupby(rows, key=_column_of):
        some = list(together)
        if column is None:
            yield from zip(some, ahead(attempt, some, _at_once(some)), strict=True)
        else:
            yield from zip(some, _column(*column, some, within, root), strict=True)


def read_uri(uri: str, within: str | None = None, root: str | None = None) -> bytes:
    """A whole file; OSError where that fails, for `within`, `root` and PlaceError see `fetch`."""
    store, name = _opened(uri, within)
    try:
        return store.read(name)
    except OSError as error:
        _refuse_a_lost_place(error, uri, root)
        raise


def _column_of(row: Row) -> tuple[str, str] | None:
    """The Parquet file and the column of it that hold an image; None for one that is a file or in a tar."""
    part = row["part"]
    return (part["file"], part["column"]) if part and part["column"] is not None else None


def _at_once(rows: list[dict[str, Any]]) -> int:
    return _FROM_S3 if any(row["uri"].startswith("s3://") for row in rows) else _FROM_DISK


def _opened(uri: str, within: str | None) -> tuple[Store, str]:
    if within is not None:
        return open_store(within, follow_links=False), uri.removeprefix(f"{within.rstrip('/')}/")
    directory, _, name = uri.rpartition("/")
    return open_store(directory or "/"), name


def _attempt(row: Row, within: str | None, root: str | None, as_planned: bool) -> bytes | OSError:
    """A file, or a member of a tar."""
    part = row["part"]
    file = part["file"] if part else row["uri"]
    version = _version(part or row) if part or as_planned else Version()
    try:
        store, name = _opened(file, within)
        if part:
            return store.read_range(name, part["offset"], row["size"], version)
        return store.read(name, version)
    except OSError as error:
        _refuse_a_lost_place(error, file, root)
        return _since_planned(error, version)
    except (InputError, ValueError) as error:  # a URI of another kind, or no name of a file
        return OSError(errno.EINVAL, str(error), row["uri"])


def _version(known: Row) -> Version:
    """What the plan knows of a file."""
    return Version(known["size"], known["modified"], known.get("etag"))


def _since_planned(error: OSError, version: Version) -> OSError:
    """The error in the words of an audit, where it is about what was there when that was planned."""
    if isinstance(error, ChangedError):
        line = f"changed since the audit was planned ({error.strerror})"
    elif error.errno == errno.ENOENT and error.strerror == os.strerror(errno.ENOENT) and version.known:
        line = "vanished since the audit was planned"
    else:
        return error
    return OSError(error.errno, line, error.filename)


def _refuse_a_lost_place(error: OSError, file: str, root: str | None) -> None:
    """PlaceError where it is not for the file that it cannot be read."""
    if isinstance(error, ChangedError):
        return
    if file.startswith("s3://"):
        if open_store(file.rpartition("/")[0]).is_lost(error):
            raise PlaceError(error.errno, error.strerror, error.filename) from None
    elif root is not None and not root.startswith("s3://") and open_store(root).is_lost(error):
        raise PlaceError(errno.ENOENT, "INPUT is gone, or holds nothing any more", root) from None


def _column(
    file: str, column: str, rows: list[dict[str, Any]], within: str | None, root: str | None
) -> Iterator[bytes | OSError]:
    """The bytes in some rows, ascending, of a column of a Parquet file, all of them of the version that was planned."""
    wanted = [row["part"]["row"] for row in rows]
    version = _version(rows[0]["part"])
    given = 0
    try:
        for value in _values(file, column, wanted, version, within):
            yield OSError("its row holds no image") if value is None else value
            given += 1
    except (OSError, pa.ArrowException) as error:
        said = OSError(one_line(error))
        if isinstance(error, OSError):
            _refuse_a_lost_place(error, file, root)
            said = _since_planned(error, version)
        yield from [said] * (len(wanted) - given)


def _values(file: str, column: str, wanted: list[int], version: Version, within: str | None) -> Iterator[bytes | None]:
    """Reads the row groups that are wanted, one at a time, and of them that column alone, no further than it must."""
    store, path = _opened(file, within)
    with store.open(path, version) as stream:
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        groups = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
        ends = np.cumsum(groups)
        for group, rows in groupby(wanted, key=lambda row: int(np.searchsorted(ends, row, side="right"))):
            if group == len(groups):
                raise OSError(f"{file} has fewer rows than when the audit was planned")
            start = int(ends[group]) - groups[group]
            batches = parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False)
            values, first = None, start
            for row in rows:
                while values is None or row >= first + len(values):
                    first += 0 if values is None else len(values)
                    values = _bytes_of(next(batches))
                yield values[row - first].as_py()


def _bytes_of(batch: pa.RecordBatch) -> pa.Array:
    """The images of some rows, from within the structs they may be in."""
    values = batch.column(0)
    while pa.types.is_struct(values.type):
        values = values.flatten()[0]
    return values
