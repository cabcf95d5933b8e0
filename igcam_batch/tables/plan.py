"""The frozen plan: the manifest as Parquet in OUTPUT/plan, written before work starts and never changed after.

A shard is a range of its rows, so what is stored does not depend on how the work is cut.
"""

import io
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.storage import Store
from igcam_batch.tables.parquet import read_parquet, undamaged

PLAN_DIR = "plan"
ROWS_PER_GROUP = 1024
ROWS_PER_FILE = 256 * ROWS_PER_GROUP
_NOT_AGAIN = "a plan cannot be made a second time; audit anew into another OUTPUT, or with --overwrite"


@dataclass(frozen=True)
class Planned:
    """What was planned.

    Attributes:
        images: how many.
        labels: every label the dataset gives, sorted, with the first image that has it.
    """

    images: int
    labels: Mapping[str, str] = field(default_factory=dict)


def write_plan(store: Store, tables: Iterable[pa.Table], directory: str = PLAN_DIR) -> Planned:
    """Freeze the rows of a source under a directory, holding no more than one file of them in memory.

    Raises:
        InputError: two images have the same id.
    """
    store.delete(directory)
    images = 0
    labels: dict[str, str] = {}
    hashes = array("q")
    groups = _in_groups(tables, ROWS_PER_GROUP)
    for number in range(1_000_000):
        of_file = list(islice(groups, ROWS_PER_FILE // ROWS_PER_GROUP))
        if not of_file:
            break
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, of_file[0].schema, compression="zstd") as writer:
            for group in of_file:
                writer.write_table(group)
                images += len(group)
                _add_labels(labels, group)
                hashes.frombytes(_hashes(group["image_id"]).tobytes())
        store.write(plan_file(directory, number), sink.getvalue())
    _refuse_twins(store, directory, hashes)
    return Planned(images, dict(sorted(labels.items())))


def read_plan(
    store: Store, start: int, stop: int, directory: str = PLAN_DIR, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows start (included) to stop (excluded) of the plan under a directory, in the schema they were written in.

    `columns`: names of those to read; None: all.
    """
    parts = []
    for number in range(start // ROWS_PER_FILE, -(-stop // ROWS_PER_FILE)):
        first = number * ROWS_PER_FILE
        low, high = max(start - first, 0), min(stop - first, ROWS_PER_FILE)
        groups = range(low // ROWS_PER_GROUP, -(-high // ROWS_PER_GROUP))
        path = plan_file(directory, number)
        with store.open(path) as file, undamaged(store, path, _NOT_AGAIN):
            rows = read_parquet(file, columns, groups)
        parts.append(rows.slice(low - groups.start * ROWS_PER_GROUP, high - low))
    return pa.concat_tables(parts)


def find_in_plan(
    store: Store, image_ids: Collection[str], images: int, directory: str = PLAN_DIR
) -> dict[str, dict[str, Any]]:
    """The rows of some images, by their ids, of a plan of so many `images`; none for an id that is not planned.

    Reads the ids a file at a time, and of all else the row groups that hold what was found.
    """
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, images, ROWS_PER_FILE):
        if len(found) == len(wanted):
            break
        ids = read_plan(store, first, min(first + ROWS_PER_FILE, images), directory, ["image_id"])["image_id"]
        places = np.flatnonzero(pc.is_in(ids, value_set=wanted).to_numpy())
        for group in np.unique(places // ROWS_PER_GROUP).tolist():
            start = first + group * ROWS_PER_GROUP
            rows = read_plan(store, start, min(start + ROWS_PER_GROUP, images), directory)
            here = places[places // ROWS_PER_GROUP == group] - group * ROWS_PER_GROUP
            found.update((row["image_id"], row) for row in rows.take(here).to_pylist())
    return found


def plan_file(directory: str, number: int) -> str:
    """Path of one of a plan's files; the first is there as long as the run is."""
    return f"{directory}/part-{number:05d}.parquet"


def _in_groups(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `size` each, but the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) < size:
            continue
        whole = pa.concat_tables(waiting)
        for start in range(0, len(whole) - size + 1, size):
            yield whole.slice(start, size)
        waiting = [whole.slice(len(whole) - len(whole) % size)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and len(rest):
        yield rest


def _add_labels(labels: dict[str, str], group: pa.Table) -> None:
    """Note each label that has not been seen, with the image that has it."""
    found = pc.unique(pc.list_flatten(group["labels"])).to_pylist()
    if all(label in labels for label in found):
        return
    for image_id, of_image in zip(group["image_id"].to_pylist(), group["labels"].to_pylist(), strict=True):
        for label in of_image or ():
            labels.setdefault(label, image_id)


def _hashes(image_ids: pa.ChunkedArray) -> np.ndarray:
    return np.fromiter(map(hash, image_ids.to_pylist()), dtype=np.int64, count=len(image_ids))


def _refuse_twins(store: Store, directory: str, hashes: "array[int]") -> None:
    """InputError where two images have one id: by their hashes, eight bytes an image, and then by themselves.

    The hashes are sorted where they are.
    """
    ordered = np.frombuffer(hashes, dtype=np.int64)
    ordered.sort()
    twins = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twins):
        return
    seen: dict[str, int] = {}
    for first in range(0, len(ordered), ROWS_PER_FILE):
        ids = read_plan(store, first, min(first + ROWS_PER_FILE, len(ordered)), directory, ["image_id"])["image_id"]
        for place in np.flatnonzero(np.isin(_hashes(ids), twins)).tolist():
            image_id, row = ids[place].as_py(), first + place
            if image_id in seen:
                raise InputError(
                    f"image_id {image_id}: images {seen[image_id] + 1} and {row + 1} of INPUT both have it; a column "
                    "image_id gives each its own"
                )
            seen[image_id] = row
