"""What the columns are. Every metric is a nullable float32: null where it has no value, never 0."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from igcam_batch.names import METRICS, PAPER_METRICS, HeatmapDtype, MetricName, metric_column
from igcam_batch.sources import BOX, CARRIED

_BOX = pa.struct([field for field in BOX if field.name != "segmentation"])
MASK = pa.struct([("label", pa.string()), ("bits", pa.binary())])

DECODED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("boxes", pa.list_(_BOX)),
        pa.field("masks", pa.list_(MASK)),
    ]
)
"""Images on their way to the model: boxes in pixels of its input, masks at its size, a bit for each pixel."""


def decoded_schema(manifest: pa.Schema) -> pa.Schema:
    """DECODED, and what else a manifest carries along."""
    return DECODED.append(manifest.field(CARRIED)) if CARRIED in manifest.names else DECODED


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


_RESERVED = frozenset([*SCORES.names, *map(metric_column, METRICS)])


def scores_schema(decoded: pa.Schema, metrics: Collection[MetricName]) -> pa.Schema:
    """SCORES, then a column for each further metric, then one for each that the dataset carries along."""
    fields = [pa.field(metric_column(name), pa.float32()) for name in metrics if name not in PAPER_METRICS]
    if CARRIED in decoded.names:
        carried = list(decoded.field(CARRIED).type)
        names = carried_names([field.name for field in carried])
        fields += [field.with_name(names[field.name]) for field in carried]
    return pa.schema([*SCORES, *fields])


def carried_names(names: Sequence[str]) -> dict[str, str]:
    """What a dataset's own columns are called among the scores: `manifest_NAME` where NAME is one of theirs.

    No two get the same name: the prefix is repeated until the name is free.
    """
    found: dict[str, str] = {}
    taken = _RESERVED.union(names)
    for name in names:
        free = name
        while free in _RESERVED or (free != name and free in taken):
            free = f"manifest_{free}"
        found[name] = free
        taken = taken | {free}
    return found


HEATMAPS = ("image_id", "target", "method", "heatmap")
"""The columns of `heatmaps_schema`, whatever the maps' shape and type."""

FAILURES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
    ]
)
"""One row for each image that could not be explained; `stage` is annotation, read, decode, target, explain or crash."""


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


def _value_type(dtype: HeatmapDtype) -> pa.DataType:
    return pa.float16() if dtype == "float16" else pa.float32()
