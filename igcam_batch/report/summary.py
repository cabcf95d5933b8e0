"""What the scores of a run come to: means with intervals, over all rows and by class, and differences of methods."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.errors import InputError
from igcam_batch.names import METRIC_COLUMNS
from igcam_batch.report.bootstrap import Interval, Means, image_key, poisson_weights, sums_of_images
from igcam_batch.report.wording import WORDINGS
from igcam_batch.storage import open_store
from igcam_batch.tables import to_parquet
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.readers import score_tables
from igcam_batch.tables.record import read_record

SUMMARY = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("other", pa.string()),
        pa.field("target", pa.int32()),
        pa.field("target_name", pa.string()),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("better", pa.string()),
    ]
)
"""`kind` mean: of a method's rows, of a class's where `target` is not null; difference: `method` less `other`."""

REPLICATES, REPLICATES_OF_A_CLASS = 1000, 400
FEWEST_IMAGES = 30  # behind a difference that names the better method
_IMAGES_AT_ONCE = 4096
_FILES = ("summary.parquet", "summary.json")
_KEYS = ("image_id", "target", "target_name", "method")


def write_summary(output: str) -> pa.Table:
    """Summarise the committed shards of a run, finished or not, into summary.parquet and summary.json.

    Returns:
        The table, as `read_summary` gives it.

    Raises:
        InputError: `output` holds no scores.
    """
    table = summarise(output)
    store = open_store(output)
    record = read_record(store)
    run = (
        {}
        if record is None
        else record.model_dump(mode="json", include={"state", "images", "counts", "model", "config"})
    )
    text = json.dumps({"run": run} | _nested(table), indent=2, ensure_ascii=False, allow_nan=False)
    store.write(_FILES[0], to_parquet(table))
    store.write(_FILES[1], (text + "\n").encode())
    return table


def read_summary(output: str) -> pa.Table:
    """summary.parquet of a run; InputError where there is none."""
    store = open_store(output)
    if not store.exists(_FILES[0]):
        raise InputError(f"{output}: holds no {_FILES[0]}; `igcam-batch report {output}` writes it")
    with store.open(_FILES[0]) as file:
        return read_parquet(file)


def summarise(output: str) -> pa.Table:
    """The table of `write_summary`, which it does not write. Reads shard by shard."""
    summary: _Summary | None = None
    for block in _blocks(output):
        summary = summary or _Summary([name for name in METRIC_COLUMNS if name in block.column_names])
        if len(block):
            summary.add(block)
    if summary is None:
        raise InputError(f"{output}: holds no scores of an audit")
    return pa.Table.from_pylist(list(summary.rows()), schema=SUMMARY)


def _blocks(output: str) -> Iterator[pa.Table]:
    """The score tables of some thousand images at a time; an image is never cut in two, as its shard is not."""
    waiting: list[pa.Table] = []
    images = 0
    for table in score_tables(output):
        names = [name for name in (*_KEYS, *METRIC_COLUMNS) if name in table.column_names]
        waiting.append(table.select(names))
        images += pc.count_distinct(table["image_id"]).as_py()
        if images >= _IMAGES_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting, images = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


@dataclass(frozen=True)
class _Block:
    """Some images' values, (image × target) by method by metric, NaN where there is none.

    Attributes:
        values: (p, methods, metrics) float64.
        image: (p,) which image, from 0.
        target: (p,) class index.
        weights: (images, replicates).
    """

    values: np.ndarray
    image: np.ndarray
    target: np.ndarray
    weights: np.ndarray

    def sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(p, columns) -> the sums of the values of each image, and how many they are."""
        return sums_of_images(values, self.image, len(self.weights))


class _Summary:
    """All means of a run while its blocks come in."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._methods: list[str] = []
        self._overall: dict[str, Means] = {}
        self._pairs: dict[tuple[str, str], Means] = {}
        self._classes: dict[tuple[str, int], Means] = {}
        self._names: dict[int, str | None] = {}

    def add(self, table: pa.Table) -> None:
        """Some images."""
        methods = table["method"].unique().to_pylist()
        self._methods += [method for method in methods if method not in self._methods]
        block = self._block(table, methods)
        for place, method in enumerate(methods):
            self._means(self._overall, method, REPLICATES).add(*block.sums(block.values[:, place]), block.weights)
            self._add_classes(block, place, method)
        for (first, one), (second, other) in combinations(enumerate(methods), 2):
            change = block.values[:, first] - block.values[:, second]
            self._means(self._pairs, (one, other), REPLICATES).add(*block.sums(change), block.weights)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of SUMMARY: overall means, differences, classes."""
        for method in self._methods:
            yield from self._described("mean", self._overall[method], method=method)
        for (one, other), means in self._pairs.items():
            yield from self._described("difference", means, method=one, other=other)
        for (method, target), means in sorted(self._classes.items(), key=lambda item: item[0][::-1]):
            yield from self._described("mean", means, method=method, target=target, target_name=self._names[target])

    def _described(self, kind: Literal["mean", "difference"], means: Means, **keys: Any) -> Iterator[dict[str, Any]]:
        for metric, interval in zip(self._metrics, means.intervals(), strict=True):
            direction = WORDINGS[metric].better if kind == "difference" else ""
            better = better_of(interval, direction, keys["method"], keys["other"]) if direction else None
            yield {"kind": kind, "metric": metric, "better": better} | keys | asdict(interval)

    def _block(self, table: pa.Table, methods: Sequence[str]) -> _Block:
        images = table["image_id"].combine_chunks().dictionary_encode()
        keys = np.array([image_key(image_id) for image_id in images.dictionary.to_pylist()], dtype=np.uint64)
        image, target = np.asarray(images.indices), table["target"].to_numpy()
        for index, name in zip(target.tolist(), table["target_name"].to_pylist(), strict=True):
            self._names.setdefault(index, name)
        pairs, pair = np.unique(np.stack([image, target], 1), axis=0, return_inverse=True)
        place = np.array([methods.index(method) for method in table["method"].to_pylist()])
        values = np.full((len(pairs), len(methods), len(self._metrics)), np.nan)
        for column, metric in enumerate(self._metrics):
            values[pair.ravel(), place, column] = table[metric].to_numpy()
        return _Block(values, pairs[:, 0], pairs[:, 1], poisson_weights(keys, REPLICATES))

    def _add_classes(self, block: _Block, place: int, method: str) -> None:
        for target in np.unique(block.target).tolist():
            rows = block.target == target
            values, images = block.values[rows, place], block.image[rows]  # an image has a target once
            known = np.isfinite(values)
            means = self._means(self._classes, (method, target), REPLICATES_OF_A_CLASS)
            means.add(np.where(known, values, 0.0), known, block.weights[images, :REPLICATES_OF_A_CLASS])

    def _means(self, among: dict[Any, Means], key: Any, replicates: int) -> Means:
        if key not in among:
            among[key] = Means(len(self._metrics), replicates)
        return among[key]


def better_of(change: Interval, direction: str, one: str, other: str) -> str | None:
    """Which of two is better by the interval of one's values less the other's; None where it leaves a doubt.

    Of a few images no interval decides: percentiles of so few are too narrow.

    Args:
        change: one less the other, paired.
        direction: which values are better, 'higher' or 'lower'; '' where neither is.
        one: what the first is called.
        other: what the second is called.
    """
    if change.low is None or change.high is None or change.images < FEWEST_IMAGES or not direction:
        return None
    if change.low > 0:
        return one if direction == "higher" else other
    if change.high < 0:
        return other if direction == "higher" else one
    return None


def _nested(table: pa.Table) -> dict[str, Any]:
    """The same for people and scripts that read JSON."""
    methods: dict[str, Any] = {}
    differences: list[dict[str, Any]] = []
    classes: dict[str, Any] = {}
    for row in table.to_pylist():
        value = {name: row[name] for name in ("mean", "low", "high", "rows", "images")}
        if row["kind"] == "difference":
            differences.append({name: row[name] for name in ("method", "other", "metric", "better")} | value)
        elif row["target"] is None:
            methods.setdefault(row["method"], {})[row["metric"]] = value
        else:
            of_class = classes.setdefault(str(row["target"]), {"name": row["target_name"], "methods": {}})
            of_class["methods"].setdefault(row["method"], {})[row["metric"]] = value
    return {"interval": "95 % percentile, Poisson bootstrap over images"} | {
        "methods": methods,
        "differences": differences,
        "classes": classes,
    }


def overall(summary: pa.Table) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Method -> metric -> its row, of the means over all rows."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in summary.to_pylist():
        if row["kind"] == "mean" and row["target"] is None:
            found.setdefault(row["method"], {})[row["metric"]] = row
    return found
