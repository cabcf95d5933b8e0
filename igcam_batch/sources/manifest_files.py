"""The file of a manifest, some rows at a time: CSV, JSON Lines or Parquet."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from igcam_batch.errors import InputError, one_line
from igcam_batch.sources.place import MANIFESTS, PARQUET
from igcam_batch.storage import Store

_BLOCK = 1 << 20  # bytes of CSV at a time; with larger ones the pool keeps as much more as there are rows
_HEADER = 1 << 20  # bytes at the beginning of a CSV in which its header ends
_LINES = 8192  # of JSON at a time
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class Rows:
    """Some rows.

    Attributes:
        table: as they are written.
        where: where a row of the table is, as people look for it: 'line 7', or in a table 'row 7', header not counted.
    """

    table: pa.Table
    where: Callable[[int], str]


def manifest_rows(store: Store, file: str, text: frozenset[str]) -> Iterator[Rows]:
    """The rows of a manifest, in its order.

    A CSV's columns are text; of those not named in `text`, one becomes numbers where the first rows have nothing else
    that is written as a number is, without leading zeros.

    Raises:
        InputError: the file cannot be read, or not as a table.
    """
    uri = store.uri(file)
    kind = PurePosixPath(file).suffix.lower()
    try:
        with store.open(file) as stream:
            if kind == PARQUET:
                tables = map(_table, pq.ParquetFile(stream, pre_buffer=False).iter_batches(use_threads=False))
                yield from _by_row(tables, uri)
            elif kind == MANIFESTS[0]:
                yield from _by_row(_of_csv(stream, uri, text), uri)
            else:
                yield from _by_line(stream, uri)
    except OSError as error:
        raise InputError(f"{uri}: {error.strerror or error}") from None
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri}: not readable as a table: {one_line(error)}") from None


def _by_row(tables: Iterator[pa.Table], uri: str) -> Iterator[Rows]:
    before = 0
    for table in tables:
        _check_names(table.column_names, uri)
        yield Rows(table, partial(_row, before + 1))
        before += len(table)


def _row(first: int, index: int) -> str:
    return f"row {first + index}"


def _line(numbers: list[int], index: int) -> str:
    return f"line {numbers[index]}"


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _check_names(names: list[str], uri: str) -> None:
    if not all(names):
        raise InputError(f"{uri}: not readable as a table: a column has no name")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{uri}: not readable as a table: several columns are called {', '.join(twice)}")


def _of_csv(stream: BinaryIO, uri: str, text: frozenset[str]) -> Iterator[pa.Table]:
    beginning = stream.read(_HEADER).decode("utf-8-sig", errors="replace")
    names = next(csv.reader(io.StringIO(beginning, newline="")), [])
    _check_names(names, uri)
    stream.seek(0)
    types: dict[str, pa.DataType] = {}
    batches = pyarrow.csv.open_csv(
        stream,
        pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    for table in map(_table, batches):
        types = types or {name: pa.string() if name in text else _type(table[name]) for name in table.column_names}
        yield pa.table({name: _as(table[name], types[name], name, uri) for name in table.column_names})


def _type(column: pa.ChunkedArray) -> pa.DataType:
    """Integers or numbers, where each is written as such a one is and its digits are not lost; else text."""
    if column.null_count == len(column):
        return pa.string()
    for pattern, kind in ((_INTEGER, pa.int64()), (_NUMBER, pa.float64())):
        if _all_are(column, pattern):
            return kind
    return pa.string()


def _all_are(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.fill_null(pc.match_substring_regex(column, pattern), True)).as_py())


def _as(column: pa.ChunkedArray, kind: pa.DataType, name: str, uri: str) -> pa.ChunkedArray:
    if pa.types.is_string(kind):
        return column
    if not _all_are(column, _INTEGER if pa.types.is_integer(kind) else _NUMBER):
        raise InputError(
            f"{uri}: its column {name} changes its type on the way, from numbers to text; write it as Parquet, which "
            "has types"
        )
    return column.cast(kind)


def _by_line(stream: BinaryIO, uri: str) -> Iterator[Rows]:
    """JSON Lines, by Python's own parser: Arrow's would take texts that look like times for times."""
    lines = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    empty = True
    while some := list(islice(lines, _LINES)):
        empty = False
        rows = [_object(line, number, uri) for number, line in some]
        numbers = [number for number, _ in some]
        names = list(dict.fromkeys(name for row in rows for name in row))
        _check_names(names, uri)
        columns = {name: _array([row.get(name) for row in rows], name, uri, numbers) for name in names}
        yield Rows(pa.table(columns), partial(_line, numbers))
    if empty:
        raise InputError(f"{uri}: is empty")


def _object(line: bytes, number: int, uri: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        said = re.sub(r": line 1 column (\d+).*", r", at character \1", str(error))
        raise InputError(f"{uri}: line {number}: not JSON: {said}") from None
    if not isinstance(value, dict):
        raise InputError(f'{uri}: line {number}: no object, as {{"uri": ...}}')
    return value


def _array(values: list[Any], name: str, uri: str, numbers: list[int]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(
            f"{uri}: lines {numbers[0]} to {numbers[-1]}: the column {name} has values of several types "
            f"({one_line(error)})"
        ) from None
