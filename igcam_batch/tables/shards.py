"""The files of a shard, and its commit.

A shard is up to three Parquet files, each put atomically: heatmaps, failures where there are any, and last the scores,
whose presence is the commit. Readers take the other two only for shards that have their scores.

A shard whose failures were taken up again is committed once more: its scores are replaced in one step, and say which
heatmaps and failures are theirs, by the number of the revision. Those of an earlier one are then removed.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.storage import Store
from igcam_batch.storage.ahead import ahead
from igcam_batch.tables.parquet import read_parquet, undamaged
from igcam_batch.tables.record import ANEW, written_by
from igcam_batch.tables.schemas import FAILURES, HEATMAPS, SCORES

SCORES_DIR, HEATMAPS_DIR, FAILURES_DIR = "scores", "heatmaps", "failures"
_COLUMNS = {SCORES_DIR: SCORES.names, HEATMAPS_DIR: HEATMAPS, FAILURES_DIR: FAILURES.names}
_PART = re.compile(r"part-(\d{6,})\.parquet")
_COMPANION = re.compile(r"part-(\d{6,})(?:-(\d+))?\.parquet")
_MADE_AGAIN = "and the same audit makes its images again"
_IMAGES, _FAILED, _REVISION = b"igcam.images", b"igcam.failed", b"igcam.revision"


@dataclass(frozen=True)
class Committed:
    """What the commit of a shard says of it.

    Attributes:
        images: images planned in the shard.
        failed: how many of them are in `failures`; the others are in `scores`.
        rows: rows of its score table.
        revision: how often its failures were taken up again.
    """

    images: int
    failed: int
    rows: int
    revision: int = 0


def part_name(shard: int, revision: int = 0) -> str:
    """File name of a shard's tables; sorts in shard order up to a million shards. Scores have no revision in it."""
    return f"part-{shard:06d}-{revision}.parquet" if revision else f"part-{shard:06d}.parquet"


def commit_shard(
    store: Store,
    shard: int,
    scores: pa.Table,
    heatmaps: pa.Table,
    failures: pa.Table,
    images: int,
    revision: int = 0,
) -> None:
    """Put the files of a shard, the scores last; OSError where that fails, which leaves the shard as it was."""
    details = {_IMAGES: str(images), _FAILED: str(len(failures)), _REVISION: str(revision)}
    companion = part_name(shard, revision)
    store.write(f"{HEATMAPS_DIR}/{companion}", to_parquet(heatmaps))
    failed = f"{FAILURES_DIR}/{companion}"
    if len(failures):
        store.write(failed, to_parquet(failures))
    elif store.exists(failed):  # of an attempt whose scores were never put
        store.delete(failed)
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
    """What the commit of a shard says, from the footer of its scores.

    Raises:
        InputError: the file is damaged, as by a disk that lost what it had promised to keep.
    """
    path = f"{SCORES_DIR}/{part_name(shard)}"
    with store.open(path) as file, undamaged(store, path, f"delete it, {_MADE_AGAIN}"):
        footer = pq.read_metadata(file)
    details = footer.metadata or {}
    images, failed, revision = (int(details.get(name, 0)) for name in (_IMAGES, _FAILED, _REVISION))
    return Committed(images, failed, footer.num_rows, revision)


def read_commits(store: Store) -> Iterator[tuple[int, Committed]]:
    """What each commit says, by ascending shard; errors as for `read_commit`."""

    def read(shard: int) -> tuple[int, Committed]:
        return shard, read_commit(store, shard)

    yield from ahead(read, committed_shards(store), store.at_once)


def companions(store: Store, directory: str) -> Iterator[tuple[int, str]]:
    """Each committed shard that has a file in `heatmaps` or `failures`, with the path of the one that its scores mean.

    Of heatmaps, a shard with files of one revision alone needs no look at its scores. A shard without failures means
    none of the files that are there.
    """
    for shard, _, meant in _revisions(store, directory):
        if meant is not None:
            yield shard, f"{directory}/{part_name(shard, meant)}"


def remove_leftovers(store: Store) -> None:
    """Remove what committed shards have in `heatmaps` and `failures` and do not mean.

    As where a process ended between the commit of a revision and the removal of the one before. Readers of ours pass it
    by; others read whatever lies in a directory.
    """
    for directory in (HEATMAPS_DIR, FAILURES_DIR):
        for shard, there, meant in _revisions(store, directory):
            for revision in there:
                if revision != meant:
                    store.delete(f"{directory}/{part_name(shard, revision)}")


def _revisions(store: Store, directory: str) -> Iterator[tuple[int, list[int], int | None]]:
    """Each committed shard with files in `heatmaps` or `failures`: the revisions there are, and the one it means."""
    there: dict[int, list[int]] = {}
    for entry in store.list(directory, recursive=False):
        if match := _COMPANION.fullmatch(entry.path.rpartition("/")[2]):
            there.setdefault(int(match[1]), []).append(int(match[2] or 0))

    def of(shard: int) -> tuple[int, list[int], int | None]:
        if directory == HEATMAPS_DIR and len(there[shard]) == 1:
            return shard, there[shard], there[shard][0]
        commit = read_commit(store, shard)
        means_any = directory == HEATMAPS_DIR or commit.failed
        return shard, there[shard], commit.revision if means_any else None

    yield from ahead(of, (shard for shard in committed_shards(store) if shard in there), store.at_once)


def read_shard_tables(store: Store, shard: int, commit: Committed) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Scores, heatmaps and failures of a committed shard; errors as for `open_table`."""
    companion = part_name(shard, commit.revision)
    return (
        read_table(store, f"{SCORES_DIR}/{part_name(shard)}"),
        read_table(store, f"{HEATMAPS_DIR}/{companion}"),
        read_table(store, f"{FAILURES_DIR}/{companion}") if commit.failed else FAILURES.empty_table(),
    )


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of one of a shard's files; None: all. Errors as for `open_table`, and for a column there is not."""
    with open_table(store, path) as parquet:
        return read_parquet(parquet, columns).replace_schema_metadata(None)


@contextmanager
def open_table(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """One of a shard's files. Whoever reads one reads it here, and so finds every column of this version in it.

    Raises:
        InputError: it lacks one, as the tables of another version do, or is damaged.
    """
    directory, _, name = path.partition("/")
    number = _COMPANION.fullmatch(name)
    assert number is not None  # it is one of a shard's
    deleted = f"delete {SCORES_DIR}/{part_name(int(number[1]))}, {_MADE_AGAIN}"
    with store.open(path) as file, undamaged(store, path, deleted):
        parquet = pq.ParquetFile(file, pre_buffer=False)
        there = parquet.schema_arrow.names
        if missing := [name for name in _COLUMNS[directory] if name not in there]:
            columns = f"column{'s' * (len(missing) > 1)} {', '.join(missing)}"
            raise InputError(f"{store.uri(path)}: has no {columns}: {written_by(store)}; {ANEW}")
        yield parquet


def remove_revision(store: Store, shard: int, revision: int) -> None:
    """Remove the heatmaps and failures of a revision that a later one has replaced."""
    for directory in (HEATMAPS_DIR, FAILURES_DIR):
        store.delete(f"{directory}/{part_name(shard, revision)}")


def to_parquet(table: pa.Table) -> bytes:
    """A whole Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
