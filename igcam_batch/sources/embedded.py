"""Parquet files that hold the images themselves, one in each row, as the Hugging Face hub stores datasets."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.sources.place import PARQUET, Place
from igcam_batch.sources.schema import CARRIED, MANIFEST, manifest_schema
from igcam_batch.storage import Entry

_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_BYTES = "bytes"  # within a struct, beside the `path` it had
_IMAGE_ID, _LABEL, _LABELS = "image_id", "label", "labels"
_ROWS_AT_ONCE = 8192


def parquet_tables(place: Place) -> Iterator[pa.Table]:
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
                yield from _of_file(parquet, file, uri, image_column(schema, uri))
        except OSError as error:
            raise InputError(f"{uri}: {error.strerror or error}") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{uri}: no Parquet file: {' '.join(str(error).split())}") from None


def parquet_files(place: Place) -> list[Entry]:
    """The Parquet file that was named, or every one below the root."""
    if place.file:
        return [place.store.entry(place.file)]
    return [entry for entry in place.store.list() if PurePosixPath(entry.path).suffix.lower() == PARQUET]


def image_column(schema: pa.Schema, uri: str) -> str:
    """The column of the images' bytes: by name, or the only one that can be; InputError where there is none."""
    holding = {field.name: column for field in schema if (column := _bytes_in(field))}
    named = [holding[name] for name in _IMAGE_NAMES if name in holding]
    if named:
        return named[0]
    if len(holding) == 1:
        return next(iter(holding.values()))
    raise InputError(
        f"{uri}: no column of images (bytes, or a struct with bytes, called {', '.join(_IMAGE_NAMES[:3])} ...), and no "
        f"column 'uri'; there are: {', '.join(schema.names)}"
    )


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
    further = [schema.field(name) for name in read if name not in (_IMAGE_ID, _LABEL, _LABELS)]
    names = _class_names(schema)
    version = {"size": file.size, "modified": file.modified, "etag": file.etag}
    start = 0
    for batch in _batches(parquet, read):
        length = len(batch)
        places = range(start, start + length)
        columns: dict[str, Any] = {
            "image_id": batch[_IMAGE_ID].cast(pa.string())
            if _IMAGE_ID in read
            else [f"{file.path}#{row}" for row in places],
            "uri": [f"{uri}#{row}" for row in places],
            "labels": [_labels(value, names) for value in _label_values(batch, read)],
            "boxes": [[]] * length,
            "part": [{"file": uri, "row": row, "column": column} | version for row in places],
        }
        arrays = [
            pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(length, one.type)
            for one in MANIFEST
        ]
        if further:
            arrays.append(pa.StructArray.from_arrays([batch[one.name] for one in further], fields=further))
        yield pa.Table.from_arrays(arrays, schema=manifest_schema(further))
        start += length


def _batches(parquet: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows without their images; of a file that has nothing else, as many empty ones."""
    if columns:
        yield from parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns, use_threads=False)
        return
    rows = parquet.metadata.num_rows
    for start in range(0, rows, _ROWS_AT_ONCE):
        yield pa.RecordBatch.from_arrays([pa.nulls(min(_ROWS_AT_ONCE, rows - start))], [CARRIED])


def _label_values(batch: pa.RecordBatch, read: list[str]) -> list[Any]:
    name = next((name for name in (_LABELS, _LABEL) if name in read), None)
    return batch[name].to_pylist() if name else [None] * len(batch)


def _labels(value: Any, names: list[str] | None) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [names[one] if names and isinstance(one, int) and 0 <= one < len(names) else str(one) for one in values]


def _class_names(schema: pa.Schema) -> list[str] | None:
    """What the numbers in `label` mean, as Hugging Face's `datasets` writes it beside the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features.get(_LABEL) or features[_LABELS]
        feature = feature.get("feature", feature)
        return [str(name) for name in feature["names"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
