"""The files of a shard, and its commit.

A shard is up to three Parquet files of the same name, each put atomically: heatmaps, failures where there are any, and
last the scores, whose presence is the commit. Readers take the other two only for shards that have their scores.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.storage import Store

SCORES_DIR, HEATMAPS_DIR, FAILURES_DIR = "scores", "heatmaps", "failures"
_PART = re.compile(r"part-(\d{6,})\.parquet")
_IMAGES, _FAILED = b"igcam.images", b"igcam.failed"


@dataclass(frozen=True)
class Committed:
    """What the commit of a shard says of it.

    Attributes:
        images: images planned in the shard.
        failed: how many of them are in `failures`; the others are in `scores`.
        rows: rows of its score table.
    """

    images: int
    failed: int
    rows: int


def part_name(shard: int) -> str:
    """File name of a shard's tables; sorts in shard order up to a million shards."""
    return f"part-{shard:06d}.parquet"


def commit_shard(
    store: Store, shard: int, scores: pa.Table, heatmaps: pa.Table, failures: pa.Table, images: int
) -> None:
    """Put the files of a shard, the scores last; OSError where that fails, which leaves the shard uncommitted."""
    details = {_IMAGES: str(images), _FAILED: str(len(failures))}
    store.write(f"{HEATMAPS_DIR}/{part_name(shard)}", to_parquet(heatmaps))
    if len(failures):
        store.write(f"{FAILURES_DIR}/{part_name(shard)}", to_parquet(failures))
    store.write(f"{SCORES_DIR}/{part_name(shard)}", to_parquet(scores.replace_schema_metadata(details)))


def is_committed(store: Store, shard: int) -> bool:
    """Whether the shard's tables are complete."""
    return store.exists(f"{SCORES_DIR}/{part_name(shard)}")


def committed_shards(store: Store) -> Iterator[int]:
    """Numbers of the shards whose tables are complete, ascending."""
    for entry in store.list(SCORES_DIR, recursive=False):
        if match := _PART.fullmatch(entry.path.rpartition("/")[2]):
            yield int(match[1])


def read_commit(store: Store, shard: int) -> Committed:
    """What the commit of a shard says, from the footer of its scores."""
    with store.open(f"{SCORES_DIR}/{part_name(shard)}") as file:
        footer = pq.read_metadata(file)
    details = footer.metadata or {}
    return Committed(int(details.get(_IMAGES, 0)), int(details.get(_FAILED, 0)), footer.num_rows)


def to_parquet(table: pa.Table) -> bytes:
    """A whole Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
