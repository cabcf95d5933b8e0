"""The tables of a finished run once more, in few large files: what engines like that read tables, and shards are not.

The shards stay as they are, and with them resuming, retrying and every reader of ours. The copy lies in OUTPUT/compact
and is whole where compact.json is there, which is put last.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.storage import open_store
from igcam_batch.storage.claim import CLAIM, this_process
from igcam_batch.storage.store import Store
from igcam_batch.tables.readers import tables_of
from igcam_batch.tables.record import RunRecord, run_in
from igcam_batch.tables.schemas import FAILURES
from igcam_batch.tables.shards import FAILURES_DIR, HEATMAPS_DIR, SCORES_DIR

COMPACT_DIR = "compact"
FILE_SIZE = 128 << 20
_MARK = f"{COMPACT_DIR}/compact.json"
_ROWS_PER_GROUP, _BYTES_PER_GROUP = 65_536, 64 << 20  # in memory; whichever comes first


@dataclass(frozen=True)
class Compacted:
    """One of the tables.

    Attributes:
        files: it lies in now.
        rows: of it.
        bytes: of its files.
    """

    files: int
    rows: int
    bytes: int


def compact(output: str, file_size: int = FILE_SIZE) -> dict[str, Compacted]:
    """Write OUTPUT/compact/scores, heatmaps and failures, the rows in the order of the shards.

    Holds one file of each table in memory, and some shards.

    Args:
        output: of a finished audit.
        file_size: bytes at which a file ends.

    Returns:
        What each table came to.

    Raises:
        InputError: OUTPUT holds no finished run, or an audit is writing to it.
    """
    store = open_store(output)
    _finished(store, output)  # before anything is written
    with store.claim(CLAIM, this_process()):
        record = _finished(store, output)
        store.delete(COMPACT_DIR)
        found = {
            SCORES_DIR: _write(store, SCORES_DIR, tables_of(store, SCORES_DIR), file_size),
            HEATMAPS_DIR: _write(store, HEATMAPS_DIR, tables_of(store, HEATMAPS_DIR), file_size),
            FAILURES_DIR: _write(store, FAILURES_DIR, _any(tables_of(store, FAILURES_DIR)), file_size),
        }
        mark = {"plan": record.plan} | {name: asdict(table) for name, table in found.items()}
        store.write(_MARK, (json.dumps(mark, indent=2) + "\n").encode())
    return found


def _finished(store: Store, output: str) -> RunRecord:
    record = run_in(store)
    if record.state != "finished":
        raise InputError(f"{output}: its audit is not finished ({record.state}); the same audit again goes on with it")
    return record


def _any(failures: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, and an empty one: who queries them needs a file also where nothing failed."""
    yield FAILURES.empty_table()
    yield from failures


def _write(store: Store, name: str, tables: Iterable[pa.Table], file_size: int) -> Compacted:
    files = rows = size = 0
    for data, count in _files(_in_groups(tables), file_size):
        store.write(f"{COMPACT_DIR}/{name}/part-{files:05d}.parquet", data)
        files, rows, size = files + 1, rows + count, size + len(data)
    return Compacted(files, rows, size)


def _files(groups: Iterable[pa.Table], file_size: int) -> Iterator[tuple[bytes, int]]:
    """Whole Parquet files, of a row group or more, with the rows of each."""
    groups = iter(groups)
    while (first := next(groups, None)) is not None:
        sink, rows = pa.BufferOutputStream(), len(first)
        with pq.ParquetWriter(sink, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            while sink.tell() < file_size and (group := next(groups, None)) is not None:
                writer.write_table(group)
                rows += len(group)
        yield bytes(sink.getvalue()), rows


def _in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer tables; none of no rows, unless that is all there is."""
    waiting: list[pa.Table] = []
    rows = size = groups = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= _ROWS_PER_GROUP or size >= _BYTES_PER_GROUP:
            yield pa.concat_tables(waiting)
            groups += 1
            waiting, rows, size = [], 0, 0
    if rows or (waiting and not groups):
        yield pa.concat_tables(waiting)
