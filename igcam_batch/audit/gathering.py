"""What is left to do of a run, and the commit of a shard that is done in pieces when its last one is there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from igcam_batch.storage import Store
from igcam_batch.tables import (
    Piece,
    commit_pieces,
    committed_shards,
    read_commit,
    read_commits,
    remove_pieces,
    staged_pieces,
)
from igcam_batch.tables.plan import read_plan
from igcam_batch.tables.record import RunRecord
from igcam_batch.tables.shards import FAILURES_DIR, HEATMAPS_DIR, SCORES_DIR, read_shard_tables, remove_leftovers


@dataclass
class _Shard:
    """A shard that is done in pieces: how many images are missing, and the pieces that are there."""

    missing: int = 0
    pieces: list[Piece] = field(default_factory=list)


class Gathering:
    """The work of a run, and the shards of it that are done in pieces.

    Args:
        store: OUTPUT.
        record: of the run.
    """

    def __init__(self, store: Store, record: RunRecord) -> None:
        self._store, self._record = store, record
        self._shards: dict[int, _Shard] = {}

    def tidy(self) -> None:
        """Remove what an earlier driver had no time to: half files, and what a later revision has replaced."""
        plan = self._record.plan
        for directory in (SCORES_DIR, HEATMAPS_DIR, FAILURES_DIR, plan, f"{plan}/pieces"):
            self._store.sweep(directory)
        remove_leftovers(self._store)
        done = set(committed_shards(self._store))
        for piece in list(staged_pieces(self._store, plan)):
            if piece.shard in done and piece.revision <= read_commit(self._store, piece.shard).revision:
                remove_pieces(self._store, plan, [piece])

    def has_work(self, retry_failures: bool) -> bool:
        """Whether `unfinished` has anything, or, where failures are to be retried, `failed`."""
        if len(set(committed_shards(self._store))) < self._record.shards:
            return True
        return retry_failures and any(commit.failed for _, commit in read_commits(self._store))

    def unfinished(self) -> list[Piece]:
        """What is left of the shards that are not committed: whole ones, and the rest of those begun in pieces."""
        done = set(committed_shards(self._store))
        there = self._staged()
        todo: list[Piece] = []
        for number in range(self._record.shards):
            if number in done:
                continue
            whole = self.whole(number)
            if found := there.get((number, 0)):
                todo += self._go_on([whole], found)
            else:
                todo.append(whole)
        return todo

    def failed(self) -> list[Piece]:
        """The images of committed shards that failed, as pieces of the shard's next revision."""
        there = self._staged()
        todo: list[Piece] = []
        for number, commit in read_commits(self._store):
            if commit.failed:
                revision = commit.revision + 1
                _, _, failures = read_shard_tables(self._store, number, commit)
                pieces = list(_runs(self.whole(number), revision, self._ids(number), failures["image_id"].to_pylist()))
                todo += self._go_on(pieces, there.get((number, revision), []))
        return todo

    def expect(self, pieces: Iterable[Piece]) -> None:
        """Have these pieces, or others of the same images, be what is missing of their shards."""
        for piece in pieces:
            self._shards.setdefault(piece.shard, _Shard()).missing += piece.images

    def add(self, piece: Piece) -> None:
        """The tables of a piece are there; where it is the last of its shard, commit this."""
        if piece.whole:
            return
        shard = self._shards[piece.shard]
        shard.pieces.append(piece)
        shard.missing -= piece.images
        if not shard.missing:
            commit_pieces(self._store, self._record.plan, sorted(shard.pieces), self._ids(piece.shard))
            del self._shards[piece.shard]

    def _staged(self) -> dict[tuple[int, int], list[Piece]]:
        """The pieces that an earlier driver put aside, by shard and revision; none twice."""
        found: dict[tuple[int, int], list[Piece]] = {}
        for piece in sorted(staged_pieces(self._store, self._record.plan), key=lambda each: (each.start, -each.stop)):
            of_shard = found.setdefault((piece.shard, piece.revision), [])
            if not of_shard or piece.start >= of_shard[-1].stop:
                of_shard.append(piece)
            else:  # a part of one that is there, by a process that was thought dead
                remove_pieces(self._store, self._record.plan, [piece])
        return found

    def _go_on(self, wanted: list[Piece], there: list[Piece]) -> list[Piece]:
        """Expect what is wanted, add what is there, and give the rest."""
        self.expect(wanted)
        rest = [gap for piece in wanted for gap in _gaps(piece, there)]
        for piece in there:
            self.add(piece)
        return rest

    def whole(self, shard: int) -> Piece:
        """A shard as one piece."""
        start = shard * self._record.shard_size
        return Piece(shard, start, min(start + self._record.shard_size, self._record.images))

    def _ids(self, shard: int) -> list[str]:
        """The images of a shard, in the plan's order."""
        whole = self.whole(shard)
        ids: list[str] = read_plan(self._store, whole.start, whole.stop, self._record.plan)["image_id"].to_pylist()
        return ids


def _runs(whole: Piece, revision: int, image_ids: list[str], wanted: Iterable[str]) -> Iterator[Piece]:
    """The wanted images of a shard, those next to each other together."""
    among = set(wanted)
    for is_wanted, some in groupby(range(len(image_ids)), key=lambda index: image_ids[index] in among):
        if is_wanted:
            rows = list(some)
            start = whole.start + rows[0]
            yield Piece(whole.shard, start, start + len(rows), revision, whole=False)


def _gaps(wanted: Piece, there: list[Piece]) -> Iterator[Piece]:
    """What of a piece is not in others, which are in order and do not overlap."""
    start = wanted.start
    edges = [(piece.start, piece.stop) for piece in there if wanted.start <= piece.start < wanted.stop]
    for begin, end in [*edges, (wanted.stop, wanted.stop)]:
        if begin > start:
            yield Piece(wanted.shard, start, begin, wanted.revision, whole=False)
        start = end
