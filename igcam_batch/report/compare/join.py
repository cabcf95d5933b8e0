"""Rows of two runs that are of the same image and class, side by side, in bounded memory.

Both runs are read once, shard by shard, into files on disk by the hash of the image; two files of one hash are then
joined in memory. So it does not matter in which order, or in how many shards, either run holds its images.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.report.bootstrap import image_key
from igcam_batch.report.compare.runs import Side
from igcam_batch.tables.readers import explained_shards

_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Pairs:
    """Some images × classes that both runs have.

    Attributes:
        scores: of each run, n rows, a row of the one for each row of the other.
        maps: of each run, (n, u, v).
        keys: (n,) uint64, of the images.
    """

    scores: tuple[pa.Table, pa.Table]
    maps: tuple[np.ndarray, np.ndarray]
    keys: np.ndarray


@dataclass
class Matched:
    """How many rows and images of the two runs there were, and how many had a partner.

    `first_a` and `first_b` are the first image of each, in the order of their names.
    """

    rows_a: int = 0
    rows_b: int = 0
    pairs: int = 0
    images_a: int = 0
    images_b: int = 0
    images: int = 0
    first_a: str | None = None
    first_b: str | None = None


def join(a: Side, b: Side, rows: int, matched: Matched) -> Iterator[Pairs]:
    """The pairs of two runs, some at a time, the order fixed by the images' names.

    Args:
        a: one run.
        b: the other.
        rows: of the larger one.
        matched: where they are counted.
    """
    parts = max(1, -(-rows // _ROWS_AT_ONCE))
    with tempfile.TemporaryDirectory(prefix="igcam-compare-") as place:
        for side in (a, b):
            _scatter(side, Path(place), parts)
        for part in range(parts):
            tables = [_gather(Path(place), side, part) for side in (a, b)]
            found = _joined(tables[0], tables[1], matched)
            if found is not None:
                yield found


def _scatter(side: Side, place: Path, parts: int) -> None:
    """Write the rows of one method of a run into a file for each part."""
    with ExitStack() as files:
        writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
        for scores, heatmaps in explained_shards(side.output):
            wanted = pc.equal(scores["method"], side.method)
            table = scores.append_column("heatmap", heatmaps["heatmap"]).filter(wanted)
            keys = np.array([image_key(image_id) for image_id in table["image_id"].to_pylist()], dtype=np.uint64)
            table = table.append_column("key", pa.array(keys))
            for part in np.unique(keys % np.uint64(parts)).tolist():
                if part not in writers:
                    path = place / f"{side.letter}-{part}.arrow"
                    writers[part] = files.enter_context(pa.ipc.new_file(str(path), table.schema))
                writers[part].write_table(table.filter(pa.array(keys % np.uint64(parts) == part)))


def _gather(place: Path, side: Side, part: int) -> pa.Table | None:
    path = place / f"{side.letter}-{part}.arrow"
    if not path.exists():
        return None
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    path.unlink()
    return table.sort_by([("key", "ascending"), ("image_id", "ascending"), ("target", "ascending")])


def _joined(a: pa.Table | None, b: pa.Table | None, matched: Matched) -> Pairs | None:
    if a is not None:
        matched.rows_a, matched.images_a = matched.rows_a + len(a), matched.images_a + _images(a)
        matched.first_a = _first(a, matched.first_a)
    if b is not None:
        matched.rows_b, matched.images_b = matched.rows_b + len(b), matched.images_b + _images(b)
        matched.first_b = _first(b, matched.first_b)
    if a is None or b is None:
        return None
    places = {key: place for place, key in enumerate(_rows(b))}
    both = [(place, places[key]) for place, key in enumerate(_rows(a)) if key in places]
    matched.images += len(set(a["image_id"].to_pylist()) & set(b["image_id"].to_pylist()))
    matched.pairs += len(both)
    if not both:
        return None
    a, b = (table.take([pair[side] for pair in both]) for side, table in enumerate((a, b)))
    maps = tuple(table["heatmap"].combine_chunks().to_numpy_ndarray() for table in (a, b))
    scores = tuple(table.drop_columns(["heatmap", "key"]) for table in (a, b))
    return Pairs(scores, maps, a["key"].to_numpy())


def _rows(table: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(table["image_id"].to_pylist(), table["target"].to_pylist(), strict=True)


def _images(table: pa.Table) -> int:
    return int(pc.count_distinct(table["image_id"]).as_py())


def _first(table: pa.Table, before: str | None) -> str:
    """The first of a table's images and one of before, by name; the table has a row."""
    first = str(pc.min(table["image_id"]).as_py())
    return first if before is None else min(first, before)
