"""The bytes of a shard's images: each a file of its own, or a part of a larger one."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from igcam_batch.storage import Store, open_store

Row = Mapping[str, Any]


def fetch(rows: list[dict[str, Any]], within: str | None = None) -> Iterator[tuple[dict[str, Any], bytes | OSError]]:
    """Each row of a manifest with the bytes of its image, or with why they cannot be had; in the order of the rows.

    Args:
        rows: of the manifest.
        within: a directory on disk that links do not lead out of; None: they lead anywhere.
    """
    for (file, column), together in groupby(rows, key=_container):
        some = list(together)
        if file is None:
            yield from ((row, _attempt(row, within)) for row in some)
        elif column is None:
            yield from ((row, _attempt_member(file, row, within)) for row in some)
        else:
            yield from zip(some, _column(file, column, [row["part"]["row"] for row in some], within), strict=True)


def read_uri(uri: str, within: str | None = None) -> bytes:
    """A whole file; OSError where that fails."""
    store, name = _opened(uri, within)
    return store.read(name)


def _container(row: Row) -> tuple[str | None, str | None]:
    part = row["part"]
    return (part["file"], part["column"]) if part else (None, None)


def _opened(uri: str, within: str | None) -> tuple[Store, str]:
    if within is not None:
        return open_store(within, follow_links=False), uri.removeprefix(f"{within.rstrip('/')}/")
    directory, _, name = uri.rpartition("/")
    return open_store(directory or "/"), name


def _attempt(row: Row, within: str | None) -> bytes | OSError:
    try:
        return read_uri(row["uri"], within)
    except OSError as error:
        return error


def _attempt_member(file: str, row: Row, within: str | None) -> bytes | OSError:
    """A member of a tar."""
    try:
        store, name = _opened(file, within)
        return store.read_range(name, row["part"]["offset"], row["size"])
    except OSError as error:
        return error


def _column(file: str, column: str, wanted: list[int], within: str | None) -> Iterator[bytes | OSError]:
    """The bytes in some rows, ascending, of a column of a Parquet file."""
    given = 0
    try:
        for value in _values(file, column, wanted, within):
            yield OSError("its row holds no image") if value is None else value
            given += 1
    except (OSError, pa.ArrowException) as error:
        said = error if isinstance(error, OSError) else OSError(" ".join(str(error).split()))
        yield from [said] * (len(wanted) - given)


def _values(file: str, column: str, wanted: list[int], within: str | None) -> Iterator[bytes | None]:
    """Reads the row groups that are wanted, one at a time, and of them that column alone."""
    name, *inner = column.split(".")
    store, path = _opened(file, within)
    with store.open(path) as stream:
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        groups = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
        ends = np.cumsum(groups)
        for group, rows in groupby(wanted, key=lambda row: int(np.searchsorted(ends, row, side="right"))):
            if group == len(groups):
                raise OSError(f"{file} has fewer rows than when the audit was planned")
            values = parquet.read_row_group(group, columns=[column], use_threads=False)[name]
            for field in inner:
                values = pc.struct_field(values, field)
            for row in rows:
                yield values[row - int(ends[group]) + groups[group]].as_py()
