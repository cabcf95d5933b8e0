"""Pieces of a shard: what is explained apart because the whole could not be, or because some of it failed before.

A piece's tables are put aside in the plan's directory, in three files of which the scores are the last. When all the
pieces that a shard needs are there, they become its commit.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.storage import Store
from igcam_batch.tables.parquet import read_parquet, undamaged
from igcam_batch.tables.shards import commit_shard, read_commit, read_shard_tables, remove_revision, to_parquet

CONTROL = -1  # a revision of which nothing is kept: whether images that were explained before still can be
_SCORES = re.compile(r"part-(\d{6,})-(\d+)-(\d+)-(\d+)\.scores\.parquet")


@dataclass(frozen=True, order=True)
class Piece:
    """Images of a shard that are explained together.

    Attributes:
        shard: number of the shard.
        start, stop: their rows in the plan, stop excluded.
        revision: of the shard's commit that they are for.
        whole: whether these are all of the shard, and so its commit.
    """

    shard: int
    start: int
    stop: int
    revision: int = 0
    whole: bool = True

    @property
    def images(self) -> int:
        """How many."""
        return self.stop - self.start

    def split(self, parts: int) -> list["Piece"]:
        """The same images in up to so many pieces, as even as can be."""
        parts = min(parts, self.images)
        edges = [self.start + self.images * part // parts for part in range(parts + 1)]
        return [Piece(self.shard, start, stop, self.revision, whole=False) for start, stop in pairwise(edges)]


def stage_piece(
    store: Store, plan: str, piece: Piece, scores: pa.Table, heatmaps: pa.Table, failures: pa.Table
) -> None:
    """Put the tables of a piece aside; OSError where that fails."""
    for name, table in (("heatmaps", heatmaps), ("failures", failures), ("scores", scores)):
        store.write(_path(plan, piece, name), to_parquet(table))


def is_staged(store: Store, plan: str, piece: Piece) -> bool:
    """Whether the tables of a piece are complete."""
    return store.exists(_path(plan, piece, "scores"))


def staged_pieces(store: Store, plan: str) -> Iterator[Piece]:
    """Every piece that was put aside and is not part of a commit yet, or was and was not removed."""
    for entry in store.list(f"{plan}/pieces", recursive=False):
        if match := _SCORES.fullmatch(entry.path.rpartition("/")[2]):
            shard, revision, start, stop = map(int, match.groups())
            yield Piece(shard, start, stop, revision, whole=False)


def commit_pieces(store: Store, plan: str, pieces: Sequence[Piece], image_ids: Sequence[str]) -> None:
    """Make the pieces of a shard, with what its earlier revision has of other images, its commit, and remove them.

    Args:
        store: OUTPUT.
        plan: directory of the frozen plan.
        pieces: of one shard and revision; together all of it, or all that is taken up again.
        image_ids: of the shard, in the plan's order, which is that of the rows.
    """
    first = pieces[0]
    scores, heatmaps, failures = (
        [_staged(store, plan, piece, name) for piece in pieces] for name in ("scores", "heatmaps", "failures")
    )
    before = read_commit(store, first.shard) if first.revision else None
    if before is not None:
        old_scores, old_heatmaps, old_failures = read_shard_tables(store, first.shard, before)
        again = pc.unique(pa.concat_tables(table.select(["image_id"]) for table in (*scores, *failures))["image_id"])
        scores, heatmaps = [old_scores, *scores], [old_heatmaps, *heatmaps]
        kept = old_failures.filter(pc.invert(pc.is_in(old_failures["image_id"], again)))
        failures = [kept, *(_with_attempts(table, old_failures) for table in failures)]
    commit_shard(
        store,
        first.shard,
        _in_order(scores, image_ids),
        _in_order(heatmaps, image_ids),
        _in_order(failures, image_ids),
        len(image_ids),
        first.revision,
    )
    if before is not None:
        remove_revision(store, first.shard, before.revision)
    remove_pieces(store, plan, pieces)


def remove_pieces(store: Store, plan: str, pieces: Iterable[Piece]) -> None:
    """Remove what was put aside of some pieces, the scores first."""
    for piece in pieces:
        for name in ("scores", "failures", "heatmaps"):
            store.delete(_path(plan, piece, name))


def _path(plan: str, piece: Piece, name: str) -> str:
    return f"{plan}/pieces/part-{piece.shard:06d}-{piece.revision}-{piece.start}-{piece.stop}.{name}.parquet"


def _staged(store: Store, plan: str, piece: Piece, name: str) -> pa.Table:
    path = _path(plan, piece, name)
    with store.open(path) as file, undamaged(store, path, f"delete {plan}/pieces, and the same audit goes on"):
        return read_parquet(file).replace_schema_metadata(None)


def _in_order(tables: Sequence[pa.Table], image_ids: Sequence[str]) -> pa.Table:
    """The rows of some tables, images in the order of the plan and the rows of each as they were."""
    table = pa.concat_tables(tables)
    place = pc.index_in(table["image_id"], pa.array(image_ids, pa.string()))
    return table.take(pc.sort_indices(place))


def _with_attempts(failures: pa.Table, before: pa.Table) -> pa.Table:
    """Failures with the attempts of an earlier revision counted in."""
    earlier = dict(zip(before["image_id"].to_pylist(), before["attempts"].to_pylist(), strict=True))
    rows = [row | {"attempts": row["attempts"] + earlier.get(row["image_id"], 0)} for row in failures.to_pylist()]
    return pa.Table.from_pylist(rows, schema=failures.schema)
