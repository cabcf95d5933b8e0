"""What the columns are. Every metric is a nullable float32: null where it has no value, never 0."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from igcam_batch.names import HeatmapDtype
from igcam_batch.sources import ImageRow

BOX = pa.struct([(side, pa.float32()) for side in ("left", "top", "right", "bottom")] + [("label", pa.string())])

MANIFEST = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.float64()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("boxes", pa.list_(BOX)),
    ]
)
"""The frozen plan, one row for each image; boxes in pixels of the image."""

DECODED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("boxes", pa.list_(BOX)),
    ]
)
"""Images on their way to the model; boxes in pixels of the model's input."""

SCORES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("predicted", pa.int32(), nullable=False),
        pa.field("predicted_name", pa.string()),
        pa.field("target", pa.int32(), nullable=False),
        pa.field("target_name", pa.string()),
        pa.field("target_source", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("nodes", pa.int32()),
        pa.field("error_estimate", pa.float32()),
        pa.field("score", pa.float32()),
        pa.field("confidence", pa.float32()),
        pa.field("masked_confidence", pa.float32()),
        pa.field("drop", pa.float32()),
        pa.field("increase", pa.float32()),
        pa.field("ebpg", pa.float32()),
        pa.field("bbox", pa.float32()),
    ]
)
"""One row for each image × target × method. `label` is the dataset's own, several joined by ', '."""

FAILURES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
    ]
)
"""One row for each image that could not be explained; `stage` is read, decode, target or explain."""


def heatmaps_schema(map_shape: tuple[int, int], dtype: HeatmapDtype) -> pa.Schema:
    """One row for each image × target × method, the map as a tensor of `map_shape` (u, v)."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("target", pa.int32(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("heatmap", pa.fixed_shape_tensor(_value_type(dtype), map_shape), nullable=False),
        ]
    )


def heatmap_array(maps: np.ndarray, dtype: HeatmapDtype) -> pa.ExtensionArray:
    """(n, u, v) -> n tensors of `dtype`; n may be 0."""
    values = pa.array(np.ascontiguousarray(maps, dtype=dtype).reshape(-1), type=_value_type(dtype))
    storage = pa.FixedSizeListArray.from_arrays(values, maps.shape[1] * maps.shape[2])
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(_value_type(dtype), maps.shape[1:]), storage)


def manifest_table(rows: Iterable[ImageRow]) -> pa.Table:
    """Rows of a source as a table in the schema MANIFEST."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=MANIFEST)


def _value_type(dtype: HeatmapDtype) -> pa.DataType:
    return pa.float16() if dtype == "float16" else pa.float32()
