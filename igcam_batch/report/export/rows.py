"""The rows of a run as an export takes them: scores with their maps, a committed shard at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from igcam_batch.errors import InputError
from igcam_batch.report.failures import explained
from igcam_batch.storage import Store, open_store
from igcam_batch.storage.ahead import ahead
from igcam_batch.tables.readers import explained_shard, tables_of
from igcam_batch.tables.record import run_in
from igcam_batch.tables.shards import SCORES_DIR, committed_shards

_CLASSES = ["label", "predicted", "predicted_name", "target", "target_name", "target_source"]


@dataclass(frozen=True)
class Rows:
    """Rows of one shard, in the order of the table; those of an image follow one another.

    Attributes:
        shard: its number.
        scores: n rows of the score table.
        maps: (n, u, v), the map of each, as stored.
    """

    shard: int
    scores: pa.Table
    maps: np.ndarray

    def by_image(self) -> Iterator[tuple[str, list[tuple[dict[str, Any], np.ndarray]]]]:
        """Each image with its rows and their maps."""
        pairs = zip(self.scores.to_pylist(), self.maps, strict=True)
        for image_id, of_image in groupby(pairs, key=lambda pair: str(pair[0]["image_id"])):
            yield image_id, list(of_image)


class Run:
    """What OUTPUT holds, for an export.

    Args:
        output: OUTPUT of an audit, finished or not.
        methods: whose rows are wanted, in the order of the run; none: every method's.
        limit: images at most; None: all.

    Attributes:
        record: its run.json.
        methods: those wanted.

    Raises:
        InputError: `output` holds no audit, or not that method.
    """

    def __init__(self, output: str, methods: Sequence[str] = (), limit: int | None = None) -> None:
        self._output = output
        self._store: Store = open_store(output)
        self.record = run_in(self._store)
        there = list(self.record.config["method"])
        if unknown := [method for method in methods if method not in there]:
            raise InputError(f"--method {', '.join(unknown)}: {output} does not hold it; there are: {', '.join(there)}")
        self.methods: tuple[str, ...] = tuple(method for method in there if method in methods or not methods)
        self._limit = limit

    def check(self) -> None:
        """InputError where nothing was explained, or the first shard cannot be read: before anything is written."""
        explained(self._output, "export")
        self._read(next(committed_shards(self._store)))

    def rows(self) -> Iterator[Rows]:
        """The rows that are wanted; of as many shards in memory as the store is asked for at a time."""
        images = 0
        for rows in ahead(self._read, committed_shards(self._store), self._store.at_once):
            if self._limit is not None:
                rows = first_images(rows, self._limit - images)
                images += len(set(rows.scores["image_id"].to_pylist()))
            if len(rows.scores):
                yield rows
            if images == self._limit:
                return

    def classes(self) -> Iterator[dict[str, Any]]:
        """What was predicted, what was explained, and for which label: each different row of those columns, by shard.

        One whose image has several labels says nothing of them.
        """
        for table in tables_of(self._store, SCORES_DIR, _CLASSES):
            yield from table.group_by(_CLASSES).aggregate([]).to_pylist()

    def _read(self, shard: int) -> Rows:
        scores, heatmaps = explained_shard(self._store, shard)
        wanted = np.isin(scores["method"].to_numpy(zero_copy_only=False).astype(str), self.methods)
        maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()
        return Rows(shard, scores.filter(pa.array(wanted)), maps[wanted])


def first_images(rows: Rows, images: int) -> Rows:
    """The rows of the first so many images."""
    ids = rows.scores["image_id"].to_pylist()
    wanted = set(list(dict.fromkeys(ids))[:images])
    stop = sum(image_id in wanted for image_id in ids)  # those of an image follow one another
    return Rows(rows.shard, rows.scores.slice(0, stop), rows.maps[:stop])
