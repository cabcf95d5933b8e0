"""The Arrow tables an audit reads and writes: their schemas, the files of a shard, and the readers. Knows no Ray."""

from igcam_batch.tables.ipc import from_ipc, to_ipc
from igcam_batch.tables.pieces import (
    CONTROL,
    Piece,
    commit_pieces,
    is_staged,
    remove_pieces,
    stage_piece,
    staged_pieces,
)
from igcam_batch.tables.readers import iter_heatmaps, read_failures, read_heatmaps, read_scores
from igcam_batch.tables.schemas import (
    DECODED,
    FAILURES,
    SCORES,
    carried_names,
    decoded_schema,
    heatmap_array,
    heatmaps_schema,
    scores_schema,
)
from igcam_batch.tables.shards import (
    Committed,
    commit_shard,
    committed_shards,
    is_committed,
    read_commit,
    read_commits,
    to_parquet,
)

__all__ = [
    "CONTROL",
    "DECODED",
    "FAILURES",
    "SCORES",
    "Committed",
    "Piece",
    "carried_names",
    "commit_pieces",
    "commit_shard",
    "committed_shards",
    "decoded_schema",
    "from_ipc",
    "heatmap_array",
    "heatmaps_schema",
    "is_committed",
    "is_staged",
    "iter_heatmaps",
    "read_commit",
    "read_commits",
    "read_failures",
    "read_heatmaps",
    "read_scores",
    "remove_pieces",
    "scores_schema",
    "stage_piece",
    "staged_pieces",
    "to_ipc",
    "to_parquet",
]
