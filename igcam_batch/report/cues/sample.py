"""Some maps of every class, the same ones however the run was cut into shards, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from igcam_batch.report.bootstrap import image_key
from igcam_batch.report.grid import reduced
from igcam_batch.tables.readers import explained_shards

GRID = 14  # cells of a side at most
MOST_OF_A_CLASS = 256
_MOST = 2**17  # of all classes together
_LABELLED = ("label", "predicted+label")


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


def sample(output: str, method: str) -> dict[int, OfClass]:
    """The sample of a run, by class index: of each class the maps whose images have the lowest keys.

    So many of each that they are 131,072 together at most, and 256 of one class. Maps that are zero everywhere, which
    look at nothing, are left out.
    """
    found: dict[int, OfClass] = {}
    most = MOST_OF_A_CLASS
    for scores, heatmaps in explained_shards(output):
        for target, name, rows, maps in _by_class(scores, heatmaps, method):
            of_class = found.get(target)
            if of_class is not None:
                rows, maps = rows + of_class.rows, _joined(of_class.maps, maps)
            found[target] = OfClass(name, rows, _lowest(maps, most))
        while sum(len(of_class.maps) for of_class in found.values()) > _MOST:
            most //= 2
            for of_class in found.values():
                of_class.maps = of_class.maps.take(np.arange(min(most, len(of_class.maps))))
    return dict(sorted(found.items()))


def _by_class(scores: pa.Table, heatmaps: pa.Table, method: str) -> Iterator[tuple[int, str | None, int, Maps]]:
    """Class index, its name, how many rows it has, and its maps, of a shard."""
    rows = np.flatnonzero(scores["method"].to_numpy(zero_copy_only=False) == method)
    if not len(rows):
        return
    maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()[rows].astype(np.float32)
    maps = reduced(np.maximum(np.nan_to_num(maps), 0), GRID)
    sums = maps.sum((1, 2), keepdims=True)
    scores = scores.take(rows)
    labelled = np.isin(scores["target_source"].to_numpy(zero_copy_only=False), _LABELLED)
    targets = scores["target"].to_numpy()
    correct = np.where(labelled, scores["predicted"].to_numpy() == targets, np.nan)
    image_ids = scores["image_id"].to_numpy(zero_copy_only=False)
    every = Maps(
        np.array([image_key(image_id) for image_id in image_ids], dtype=np.uint64),
        image_ids,
        maps / np.where(sums > 0, sums, 1),
        _floats(scores, "ebpg"),
        _floats(scores, "confidence"),
        correct.astype(np.float32),
    )
    looks = sums.ravel() > 0
    names = scores["target_name"].to_pylist()
    for target in np.unique(targets).tolist():
        of_class = targets == target
        first = int(np.argmax(of_class))
        yield target, names[first], int(of_class.sum()), every.take(np.flatnonzero(of_class & looks))


def _joined(one: Maps, other: Maps) -> Maps:
    return Maps(*(np.concatenate([getattr(maps, each.name) for maps in (one, other)]) for each in fields(Maps)))


def _lowest(maps: Maps, most: int) -> Maps:
    """Those with the lowest keys, in their order."""
    return maps.take(np.argsort(maps.keys, kind="stable")[:most])


def _floats(scores: pa.Table, name: str) -> np.ndarray:
    found: np.ndarray = scores[name].to_numpy(zero_copy_only=False).astype(np.float32)
    return found
