"""The manifest as an Arrow table."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice

import pyarrow as pa

from igcam_batch.sources.boxes import SIDES
from igcam_batch.sources.rows import ImageRow, Problem

BOX = pa.struct(
    [*((side, pa.float32()) for side in SIDES), pa.field("label", pa.string()), pa.field("segmentation", pa.string())]
)
_VERSION = [pa.field("size", pa.int64()), pa.field("modified", pa.float64()), pa.field("etag", pa.string())]
PART = pa.struct(
    [("file", pa.string()), ("offset", pa.int64()), ("row", pa.int64()), ("column", pa.string()), *_VERSION]
)
PROBLEM = pa.struct([("stage", pa.string()), ("error", pa.string())])

MANIFEST = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        *_VERSION,
        pa.field("labels", pa.list_(pa.string())),
        pa.field("boxes", pa.list_(BOX)),
        pa.field("mask_uri", pa.string()),
        pa.field("part", PART),
        pa.field("problem", PROBLEM),
    ]
)
"""One row for each image; boxes in pixels of the image. See `ImageRow`."""

CARRIED = "carried"
_ROWS_AT_ONCE = 1024


def manifest_schema(carried: Sequence[pa.Field] = ()) -> pa.Schema:
    """MANIFEST, and where there are any, a struct of the dataset's own further columns."""
    return MANIFEST.append(pa.field(CARRIED, pa.struct(list(carried)))) if carried else MANIFEST


def manifest_table(rows: Iterable[ImageRow]) -> pa.Table:
    """Rows as a table in the schema MANIFEST."""
    return pa.Table.from_pylist([asdict(_in_utf8(row)) for row in rows], schema=MANIFEST)


def in_tables(rows: Iterable[ImageRow]) -> Iterator[pa.Table]:
    """Any number of rows, some at a time."""
    rows = iter(rows)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield manifest_table(some)


def _in_utf8(row: ImageRow) -> ImageRow:
    """A row that tables can hold; an image whose file name they cannot is one that cannot be read."""
    try:
        row.uri.encode()
    except UnicodeEncodeError:
        image_id, uri = (text.encode(errors="backslashreplace").decode() for text in (row.image_id, row.uri))
        return replace(row, image_id=image_id, uri=uri, problem=Problem("read", "the file name is not UTF-8"))
    return row
