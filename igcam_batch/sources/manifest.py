"""A manifest: a table in CSV, JSON Lines or Parquet that says where each image is, and whatever else is known of it."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.errors import InputError, one_line
from igcam_batch.sources.boxes import NO_AREA, SIDES, box_of, has_area
from igcam_batch.sources.carried import plain
from igcam_batch.sources.manifest_files import Rows, manifest_rows
from igcam_batch.sources.place import MANIFESTS, PARQUET, Place
from igcam_batch.sources.rows import Box, Problem
from igcam_batch.sources.schema import CARRIED, MANIFEST, PROBLEM, manifest_schema
from igcam_batch.sources.source import Notes
from igcam_batch.storage import Store

URI, IMAGE_ID, LABEL, LABELS, BOXES = "uri", "image_id", "label", "labels", "boxes"
_OURS = (URI, IMAGE_ID, LABEL, LABELS, BOXES)
_AS_WRITTEN = frozenset(_OURS)
_SCHEME = r"^[A-Za-z][A-Za-z0-9+.\-]*://"
_READABLE = "^s3://"  # what else has a scheme cannot be read
_IN_FULL = rf"^/|{_SCHEME}"
_SEPARATOR = "|"  # between the labels of an image, in CSV


def manifest_file(store: Store) -> str | None:
    """The manifest of a directory: a file called manifest.csv, .jsonl, .ndjson or .parquet; None without one."""
    names = [f"manifest{suffix}" for suffix in (*MANIFESTS, PARQUET)]
    return next((name for name in names if store.exists(name)), None)


def manifest_tables(place: Place, notes: Notes) -> Iterator[pa.Table]:
    """The rows of a manifest, in its order, in the schema `manifest_schema(...)` of its further columns.

    `uri` may be a path, relative to the manifest's directory or absolute, or a URI; `image_id` is the uri as written
    where there is no such column. `label` or `labels` (in CSV `cat|dog`) and `boxes` (objects of label, left, top,
    right, bottom; in CSV as JSON) are optional; every other column is carried through to the scores.

    Raises:
        InputError: no such file, not readable as a table, no column `uri`, or a row that says nothing; names the line.
    """
    file = place.file or manifest_file(place.store)
    if file is None:
        raise InputError(
            f"INPUT {place.store.root}: --layout manifest needs manifest.csv, .jsonl or .parquet, or a file"
        )
    uri = place.store.uri(file)
    schema: pa.Schema | None = None
    for rows in manifest_rows(place.store, file, _AS_WRITTEN):
        if URI not in rows.table.column_names:
            raise InputError(f"{uri}: no column 'uri'; there are: {', '.join(rows.table.column_names) or 'none'}")
        converted = _Columns(rows, uri, place.store.root, notes).manifest()
        schema = schema or converted.schema
        yield _as(converted, schema, rows, uri)


class _Columns:
    """Some rows of a manifest, column by column."""

    def __init__(self, rows: Rows, uri: str, root: str, notes: Notes) -> None:
        self._table, self._where = rows.table, rows.where
        self._uri = uri
        self._root = root
        self._notes = notes

    def manifest(self) -> pa.Table:
        """The rows in the schema of the plan."""
        written = self._text(URI)
        in_full = pc.match_substring_regex(written, _IN_FULL)
        resolved = pc.if_else(in_full, written, pc.binary_join_element_wise(self._root.rstrip("/"), written, "/"))
        columns: dict[str, Any] = {
            "problem": self._problems(written),
            "image_id": self._text(IMAGE_ID) if IMAGE_ID in self._table.column_names else written,
            "uri": resolved,
            "labels": self._labels(),
            "boxes": self._boxes(),
        }
        length = len(self._table)
        arrays = [columns.get(field.name, pa.nulls(length, field.type)) for field in MANIFEST]
        further = [name for name in self._table.column_names if name not in _OURS]
        carried = [plain(_whole(self._table[name])) for name in further]
        fields = [pa.field(name, column.type) for name, column in zip(further, carried, strict=True)]
        if further:
            arrays.append(pa.StructArray.from_arrays(carried, fields=fields))
        return pa.Table.from_arrays([_whole(array) for array in arrays], schema=manifest_schema(fields))

    def _problems(self, written: pa.ChunkedArray) -> pa.Array:
        """What is no place that an image can be read from costs that image alone."""
        foreign = pc.and_not(pc.match_substring_regex(written, _SCHEME), pc.match_substring_regex(written, _READABLE))
        with_nul = pc.match_substring(written, "\0")
        wrong = np.flatnonzero(pc.or_(foreign, with_nul).to_numpy()).tolist()
        if not wrong:
            return pa.nulls(len(written), PROBLEM)
        found: list[dict[str, str] | None] = [None] * len(written)
        for index in wrong:
            scheme, separator, _ = written[index].as_py().partition("://")
            line = f"{scheme}{separator} cannot be read; only paths and s3:// can"
            if with_nul[index].as_py():
                line = "the uri has a NUL in it"
            found[index] = asdict(Problem("read", f"{self._uri}: {self._where(index)}: {line}"))
        return pa.array(found, PROBLEM)

    def _text(self, name: str) -> pa.ChunkedArray:
        """A column that every row must have."""
        text = self._table[name].cast(pa.string())
        empty = pc.fill_null(pc.equal(text, ""), True)
        if pc.any(empty).as_py():
            raise InputError(f"{self._uri}: {self._where(pc.index(empty, True).as_py())}: no {name}")
        return text

    def _labels(self) -> pa.Array:
        """One list for each row, empty where nothing is said."""
        for name in (LABELS, LABEL):
            if name not in self._table.column_names:
                continue
            column = _whole(self._table[name])
            if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                return pa.array(
                    [[str(label) for label in labels or () if label is not None] for labels in column.to_pylist()],
                    pa.list_(pa.string()),
                )
            if pa.types.is_string(column.type) and name == LABEL:
                return _single(column)
            separator = _SEPARATOR if name == LABELS else None
            texts = [None if label is None else str(label) for label in column.to_pylist()]
            return pa.array([_split(text, separator) for text in texts], pa.list_(pa.string()))
        return pa.array([[]] * len(self._table), pa.list_(pa.string()))

    def _boxes(self) -> pa.Array:
        if BOXES not in self._table.column_names:
            return pa.array([[]] * len(self._table), MANIFEST.field("boxes").type)
        found = []
        for number, value in enumerate(self._table[BOXES].to_pylist()):
            try:
                boxes = json.loads(value) if isinstance(value, str) else value
                found.append([asdict(box) for box in map(box_of, boxes or ()) if self._means_something(box, number)])
            except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
                raise InputError(
                    f"{self._uri}: {self._where(number)}: boxes must be a list of objects with label, "
                    f"{', '.join(SIDES)}, as numbers: {_said(error)}"
                ) from None
        return pa.array(found, MANIFEST.field("boxes").type)

    def _means_something(self, box: Box, number: int) -> bool:
        """Whether a box has an area in some image; how large its own is, a manifest does not say."""
        if has_area(box, math.nan, math.nan):
            return True
        sides = ", ".join(f"{side:g}" for side in (box.left, box.top, box.right, box.bottom))
        self._notes.add(NO_AREA, f"{self._uri}: {self._where(number)}: '{box.label}' {sides}")
        return False


def _single(labels: pa.StringArray) -> pa.ListArray:
    """A list of each label, or of nothing where it is null or empty."""
    there = pc.fill_null(pc.not_equal(labels, ""), False)
    ends = np.cumsum(there.to_numpy(zero_copy_only=False), dtype=np.int32)
    return pa.ListArray.from_arrays(np.concatenate([np.zeros(1, np.int32), ends]), labels.filter(there))


def _split(text: str | None, separator: str | None) -> list[str]:
    if not text:
        return []
    return [label.strip() for label in text.split(separator) if label.strip()] if separator else [text]


def _said(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error))[:120]
    return f"no {text}" if isinstance(error, KeyError) else text


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _as(table: pa.Table, schema: pa.Schema, rows: Rows, uri: str) -> pa.Table:
    """A later part of a file, in the columns and types of its first."""
    if table.schema.equals(schema):
        return table
    wanted = _carried_fields(schema)
    for name in _carried_fields(table.schema).keys() - wanted.keys():
        if len(given := np.flatnonzero(rows.table[name].is_valid().to_numpy())):
            raise InputError(
                f"{uri}: {rows.where(int(given[0]))}: has '{name}', which none of the first lines has, and those "
                "settle what is carried through; give it a value there too, or write Parquet, which has types"
            )
    try:
        arrays = [table[name].cast(schema.field(name).type) for name in MANIFEST.names]
        if wanted:
            carried = [_carried(table, name, kind) for name, kind in wanted.items()]
            arrays.append(pa.StructArray.from_arrays(carried, fields=list(schema.field(CARRIED).type)))
        return pa.Table.from_arrays(arrays, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError) as error:
        raise InputError(
            f"{uri}: its columns ({', '.join(wanted)}) change their types on the way ({one_line(error)}); "
            "write it as Parquet, which has types"
        ) from None


def _carried_fields(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The dataset's own columns in a schema."""
    return {field.name: field.type for field in schema.field(CARRIED).type} if CARRIED in schema.names else {}


def _carried(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """One of them, null where the table has no such column."""
    if name not in _carried_fields(table.schema):
        return pa.nulls(len(table), kind)
    return pc.struct_field(_whole(table[CARRIED]), name).cast(kind)
