"""Parquet files that hold the images themselves, one in each row, as the Hugging Face hub stores datasets."""

import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from igcam_batch.errors import InputError, one_line
from igcam_batch.sources.carried import plain
from igcam_batch.sources.place import PARQUET, Place
from igcam_batch.sources.schema import CARRIED, MANIFEST, manifest_schema
from igcam_batch.sources.source import Notes
from igcam_batch.storage import Entry, Store

_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_BYTES = "bytes"  # within a struct, beside the `path` it had
_IMAGE_ID, _LABEL, _LABELS = "image_id", "label", "labels"
_ROWS_AT_ONCE = 8192
_LARGE_GROUP = 256 << 20  # bytes


def parquet_tables(place: Place, notes: Notes) -> Iterator[pa.Table]:
    """Every row of the Parquet files, in order, without the images' bytes, which are read where a shard is.

    `label` (by name, or by number where the file's Hugging Face metadata or the model says what it means) or `labels`
    is optional, as is `image_id`; every other column but further bytes is carried through to the scores.

    Raises:
        InputError: no Parquet file, one without an image column, or files of different columns.
    """
    files = parquet_files(place)
    if not files:
        raise InputError(f"INPUT {place.store.root}: --layout parquet needs files named *.parquet")
    first: tuple[str, pa.Schema] | None = None
    for file in files:
        uri = place.store.uri(file.path)
        try:
            with place.store.open(file.path) as stream:
                parquet = pq.ParquetFile(stream, pre_buffer=False)
                schema = parquet.schema_arrow
                if first is None:
                    first = uri, schema
                elif schema.names != first[1].names or schema.types != first[1].types:
                    raise InputError(
                        f"{uri}: has other columns than {first[0]}; name one of them, or a directory of one kind"
                    )
                column = image_column(parquet, uri)
                _note_large_groups(parquet, uri, notes)
                yield from _of_file(parquet, file, uri, column)
        except OSError as error:
            raise InputError(f"{uri}: {error.strerror or error}") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{uri}: no Parquet file: {one_line(error)}") from None


def parquet_files(place: Place) -> list[Entry]:
    """The Parquet file that was named, or every one below the root."""
    if place.file:
        return [place.store.entry(place.file)]
    return [entry for entry in place.store.list() if PurePosixPath(entry.path).suffix.lower() == PARQUET]


def holds_images(store: Store, path: str) -> bool:
    """Whether a Parquet file has a column of images."""
    try:
        with store.open(path) as stream:
            image_column(pq.ParquetFile(stream, pre_buffer=False), path)
    except (InputError, OSError, pa.ArrowException):
        return False
    return True


def _note_large_groups(parquet: pq.ParquetFile, uri: str, notes: Notes) -> None:
    """A shard reads a row group from its beginning to the images it wants: of large ones, much for little."""
    groups = (parquet.metadata.row_group(number) for number in range(parquet.num_row_groups))
    if any(group.total_byte_size > _LARGE_GROUP for group in groups):
        notes.add("files have row groups beyond 256 MB, which are slow to read in part; smaller ones are faster", uri)


def image_column(parquet: pq.ParquetFile, uri: str) -> str:
    """The column of the images' bytes: by name, or the only one that can be; InputError where there is none."""
    schema = parquet.schema_arrow
    holding = {field.name: column for field in schema if (column := _bytes_in(field))}
    named = [holding[name] for name in _IMAGE_NAMES if name in holding]
    if named:
        return named[0]
    if len(holding) == 1 and _is_of_images(parquet, only := next(iter(holding.values()))):
        return only
    raise InputError(
        f"{uri}: no column of images (bytes, or a struct with bytes, called {', '.join(_IMAGE_NAMES[:3])} ...), and no "
        f"column 'uri'; there are: {', '.join(schema.names)}"
    )


def _is_of_images(parquet: pq.ParquetFile, column: str) -> bool:
    """Whether the first value in a column that has one is an image."""
    for batch in parquet.iter_batches(16, columns=[column], use_threads=False):
        values = batch.column(0)
        while pa.types.is_struct(values.type):
            values = values.flatten()[0]
        if some := values.drop_null().slice(0, 1).to_pylist():
            try:
                Image.open(io.BytesIO(some[0])).close()
            except Exception:  # headers that are none raise nearly anything
                return False
            return True
    return False


def _bytes_in(field: pa.Field) -> str | None:
    """The path of the bytes in a column; None where it has none."""
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type):
        position = field.type.get_field_index(_BYTES)
        if position >= 0 and _bytes_in(field.type.field(position)):
            return f"{field.name}.{_BYTES}"
    return None


def _of_file(parquet: pq.ParquetFile, file: Entry, uri: str, column: str) -> Iterator[pa.Table]:
    schema = parquet.schema_arrow
    read = [field.name for field in schema if not _bytes_in(field)]
    further = [name for name in read if name not in (_IMAGE_ID, _LABEL, _LABELS)]
    labels = next((name for name in (_LABELS, _LABEL) if name in read), None)
    names = _class_names(schema, labels) if labels else None
    version = {"size": file.size, "modified": file.modified, "etag": file.etag}
    start = 0
    for batch in _batches(parquet, read):
        length = len(batch)
        places = range(start, start + length)
        columns: dict[str, Any] = {
            "image_id": _ids(batch, start, uri) if _IMAGE_ID in read else [f"{file.path}#{row}" for row in places],
            "uri": [f"{uri}#{row}" for row in places],
            "labels": [_labels(value, names) for value in (batch[labels].to_pylist() if labels else [None] * length)],
            "boxes": [[]] * length,
            "part": [{"file": uri, "row": row, "column": column} | version for row in places],
        }
        arrays = [
            pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(length, one.type)
            for one in MANIFEST
        ]
        carried = [plain(batch[name]) for name in further]
        fields = [pa.field(name, values.type) for name, values in zip(further, carried, strict=True)]
        if fields:
            arrays.append(pa.StructArray.from_arrays(carried, fields=fields))
        yield pa.Table.from_arrays(arrays, schema=manifest_schema(fields))
        start += length


def _batches(parquet: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows without their images; of a file that has nothing else, as many empty ones."""
    if columns:
        yield from parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns, use_threads=False)
        return
    rows = parquet.metadata.num_rows
    for start in range(0, rows, _ROWS_AT_ONCE):
        yield pa.RecordBatch.from_arrays([pa.nulls(min(_ROWS_AT_ONCE, rows - start))], [CARRIED])


def _ids(batch: pa.RecordBatch, first: int, uri: str) -> pa.Array:
    ids = batch[_IMAGE_ID].cast(pa.string())
    if ids.null_count:
        row = first + np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0] + 1
        raise InputError(f"{uri}: row {row}: no {_IMAGE_ID}")
    return ids


def _labels(value: Any, names: list[str] | None) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [names[one] if names and isinstance(one, int) and 0 <= one < len(names) else str(one) for one in values]


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """What the numbers in a column of labels mean, as Hugging Face's `datasets` writes it beside the schema."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        feature = feature.get("feature", feature)
        return [str(name) for name in feature["names"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
