"""Some maps of every class and method, the same ones however the run was cut into shards, in bounded memory."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from igcam_batch.report.bootstrap import image_key
from igcam_batch.report.grid import reduced
from igcam_batch.report.targets import labelled, predicted
from igcam_batch.tables.readers import explained_shards

GRID = 14  # cells of a side at most
MOST_OF_A_CLASS = 512
_MOST = 2**17  # of all classes and methods together

Key = tuple[str, int]
"""A method and the index of a class."""


@dataclass(frozen=True)
class Maps:
    """Sampled maps of a class, in the order of their images' keys.

    Attributes:
        keys: (n,) uint64, of the images.
        image_ids: (n,) of str.
        maps: (n, u, v) float32, of sum 1, GRID cells a side at most.
        inside: (n,) float32, the share inside the boxes, before the map was reduced; NaN without boxes.
        confidence: (n,) float32.
        correct: (n,) float32, 1 where the dataset's label was predicted, 0 where not, NaN where it is no label.
    """

    keys: np.ndarray
    image_ids: np.ndarray
    maps: np.ndarray
    inside: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> "Maps":
        """Some of them."""
        return Maps(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass
class OfClass:
    """A class in the sample.

    Attributes:
        name: of the class; None where the model has no names.
        rows: how often it was a target.
        maps: those that were sampled.
    """

    name: str | None
    rows: int
    maps: Maps

    def waits_for(self, keys: np.ndarray, most: int) -> np.ndarray:
        """(n,) bool: which of some images' maps could still come into a sample of `most`."""
        if len(self.maps) < most:
            return np.ones(len(keys), dtype=bool)
        return np.asarray(keys < self.maps.keys[most - 1])


def sample(output: str, methods: Collection[str] | None = None) -> dict[Key, OfClass]:
    """The sample of a run, by method and class index: of each the maps whose images have the lowest keys.

    So many of each that they are 131,072 together at most, and 512 of one. Maps that are zero everywhere, which look at
    nothing, are left out.

    Args:
        output: OUTPUT of an audit, finished or not.
        methods: whose maps are wanted; None: those of all.
    """
    found: dict[Key, OfClass] = {}
    most = MOST_OF_A_CLASS
    for scores, heatmaps in explained_shards(output):
        for key, rows in _by_class(scores, methods):
            of_class = found.setdefault(key, OfClass(scores["target_name"][int(rows[0])].as_py(), 0, _NO_MAPS))
            of_class.rows += len(rows)
            image_ids = scores["image_id"].take(rows).to_numpy(zero_copy_only=False)
            keys = np.array([image_key(image_id) for image_id in image_ids], dtype=np.uint64)
            rows = rows[of_class.waits_for(keys, most)]
            if len(rows):
                maps = _maps(scores.take(rows), heatmaps.take(rows))
                of_class.maps = _lowest(_joined(of_class.maps, maps) if len(of_class.maps) else maps, most)
        while sum(len(of_class.maps) for of_class in found.values()) > _MOST:
            most //= 2
            for of_class in found.values():
                of_class.maps = of_class.maps.take(np.arange(min(most, len(of_class.maps))))
    return dict(sorted(found.items()))


def _by_class(scores: pa.Table, methods: Collection[str] | None) -> Iterator[tuple[Key, np.ndarray]]:
    """The rows of each method and class in a shard."""
    of_rows, targets = scores["method"].to_numpy(zero_copy_only=False), scores["target"].to_numpy()
    for method in dict.fromkeys(of_rows.tolist()):
        if methods is None or method in methods:
            rows = np.flatnonzero(of_rows == method)
            order = rows[np.argsort(targets[rows], kind="stable")]
            ordered = targets[order]
            for of_class in np.split(order, np.flatnonzero(np.diff(ordered)) + 1):
                yield (method, int(targets[of_class[0]])), of_class


def _maps(scores: pa.Table, heatmaps: pa.Table) -> Maps:
    """Those of some rows that look at anything."""
    maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray().astype(np.float32)
    maps = np.maximum(np.nan_to_num(maps, posinf=0, neginf=0), 0)
    highest = maps.max((1, 2), keepdims=True)
    maps = reduced(maps / np.where(highest > 0, highest, 1), GRID)  # of the highest first: sums are finite, not zero
    correct = np.where(labelled(scores), predicted(scores), np.nan)
    image_ids = scores["image_id"].to_numpy(zero_copy_only=False)
    every = Maps(
        np.array([image_key(image_id) for image_id in image_ids], dtype=np.uint64),
        image_ids,
        maps / np.where(highest > 0, maps.sum((1, 2), keepdims=True), 1),
        _floats(scores, "ebpg"),
        _floats(scores, "confidence"),
        correct.astype(np.float32),
    )
    return every.take(np.flatnonzero(highest.ravel() > 0))


def _joined(one: Maps, other: Maps) -> Maps:
    return Maps(*(np.concatenate([getattr(maps, each.name) for maps in (one, other)]) for each in fields(Maps)))


def _lowest(maps: Maps, most: int) -> Maps:
    """Those with the lowest keys, in their order."""
    return maps.take(np.argsort(maps.keys, kind="stable")[:most])


def _floats(scores: pa.Table, name: str) -> np.ndarray:
    found: np.ndarray = scores[name].to_numpy(zero_copy_only=False).astype(np.float32)
    return found


_NO_VALUES = np.empty(0, np.float32)
_NO_MAPS = Maps(
    np.empty(0, np.uint64), np.empty(0, object), _NO_VALUES.reshape(0, 0, 0), _NO_VALUES, _NO_VALUES, _NO_VALUES
)
