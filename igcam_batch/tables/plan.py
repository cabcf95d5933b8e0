"""The frozen plan: the manifest as Parquet in OUTPUT/plan, written before work starts and never changed after.

A shard is a range of its rows, so what is stored does not depend on how the work is cut.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.sources import ImageRow
from igcam_batch.storage import Store
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.schemas import MANIFEST, manifest_table

PLAN_DIR = "plan"
ROWS_PER_GROUP = 1024
ROWS_PER_FILE = 256 * ROWS_PER_GROUP


@dataclass(frozen=True)
class Planned:
    """What was planned.

    Attributes:
        images: how many.
        labels: every label the dataset gives, sorted.
    """

    images: int
    labels: tuple[str, ...]


def write_plan(store: Store, rows: Iterable[ImageRow], directory: str = PLAN_DIR) -> Planned:
    """Freeze the rows of a source under a directory, holding no more than one file of them in memory."""
    store.delete(directory)
    images = 0
    labels: set[str] = set()
    groups = _groups(rows, ROWS_PER_GROUP)
    for number in range(1_000_000):
        sink = io.BytesIO()
        before = images
        with pq.ParquetWriter(sink, MANIFEST, compression="zstd") as writer:
            for group in islice(groups, ROWS_PER_FILE // ROWS_PER_GROUP):
                _refuse_odd_names(group)
                writer.write_table(manifest_table(group))
                images += len(group)
                labels.update(label for row in group for label in row.labels)
        if images == before:
            break
        store.write(_file(directory, number), sink.getvalue())
    return Planned(images, tuple(sorted(labels)))


def read_plan(store: Store, start: int, stop: int, directory: str = PLAN_DIR) -> pa.Table:
    """Rows start (included) to stop (excluded) of the plan under a directory, in the schema MANIFEST."""
    parts = []
    for number in range(start // ROWS_PER_FILE, -(-stop // ROWS_PER_FILE)):
        first = number * ROWS_PER_FILE
        low, high = max(start - first, 0), min(stop - first, ROWS_PER_FILE)
        groups = range(low // ROWS_PER_GROUP, -(-high // ROWS_PER_GROUP))
        with store.open(_file(directory, number)) as file:
            rows = read_parquet(file, groups=groups)
        parts.append(rows.slice(low - groups.start * ROWS_PER_GROUP, high - low))
    return pa.concat_tables(parts)


def _file(directory: str, number: int) -> str:
    return f"{directory}/part-{number:05d}.parquet"


def _groups(rows: Iterable[ImageRow], size: int) -> Iterator[list[ImageRow]]:
    rows = iter(rows)
    while group := list(islice(rows, size)):
        yield group


def _refuse_odd_names(rows: Iterable[ImageRow]) -> None:
    for row in rows:
        try:
            row.uri.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{row.uri!r}: the file name is not UTF-8, so no table holds it; rename the file"
            ) from None
