"""What the columns of clusters.parquet are."""

from typing import Any

import numpy as np
import pyarrow as pa

from igcam_batch.tables import heatmap_array

REGIONS = ("border", "top_left", "top_right", "bottom_left", "bottom_right", "outside")


def clusters_schema(shape: tuple[int, int]) -> pa.Schema:
    """The columns; `mean_map` is a tensor of `shape` (u, v), of sum 1.

    `kind` is class for all sampled maps of one together, cluster for a group of them, where they fall into several in
    an `embedding`. `rank` 1 is the most suspicious.
    `border`, the four corners and `outside` (the boxes) are shares of the attention; `usual_...` the same over the
    sampled maps of all other classes, null where there is none; `error_...` the standard error of the difference of the
    two. `apart` says how far the group's pattern lies from that of the rest of its class, `apart_others` from that of
    all other classes, in 0..1: of maps as they lie, or for the position-invariant embedding wherever they lie.
    `sampled` maps of the class's `of_class` rows were looked at. `examples` are the image ids nearest to the group's
    mean, `members` all of them.
    """
    prefixes = ("", "usual_", "error_")
    numbers = [pa.field(f"{prefix}{name}", pa.float32()) for prefix in prefixes for name in REGIONS]
    return pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("rank", pa.int32(), nullable=False),
            pa.field("suspicion", pa.float32(), nullable=False),
            pa.field("finding", pa.string(), nullable=False),
            pa.field("cue", pa.string(), nullable=False),
            pa.field("where", pa.string()),
            pa.field("embedding", pa.string()),
            pa.field("method", pa.string(), nullable=False),
            pa.field("target", pa.int32(), nullable=False),
            pa.field("target_name", pa.string()),
            pa.field("cluster", pa.int32()),
            pa.field("images", pa.int32(), nullable=False),
            pa.field("share", pa.float32(), nullable=False),
            pa.field("sampled", pa.int32(), nullable=False),
            pa.field("of_class", pa.int64(), nullable=False),
            *numbers,
            pa.field("apart", pa.float32()),
            pa.field("apart_others", pa.float32()),
            pa.field("confidence", pa.float32()),
            pa.field("accuracy", pa.float32()),
            pa.field("mean_map", pa.fixed_shape_tensor(pa.float32(), shape)),
            pa.field("examples", pa.list_(pa.string()), nullable=False),
            pa.field("members", pa.list_(pa.string()), nullable=False),
        ]
    )


def clusters_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows, at least one, with `mean_map` an array (u, v)."""
    maps = np.stack([row["mean_map"] for row in rows])
    schema = clusters_schema((maps.shape[1], maps.shape[2]))
    place = schema.get_field_index("mean_map")
    table = pa.Table.from_pylist(rows, schema=schema.remove(place))
    return table.add_column(place, schema.field("mean_map"), heatmap_array(maps, "float32"))
