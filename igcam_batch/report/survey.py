"""One pass over a run's shards: what its report shows beside the means. Memory does not grow with the run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa

from igcam_batch.names import METRIC_COLUMNS
from igcam_batch.report.agreement import rank_correlation, top_overlap
from igcam_batch.report.bootstrap import image_key
from igcam_batch.report.distributions import Distribution
from igcam_batch.report.galleries import GALLERIES, Picked
from igcam_batch.report.targets import labelled, predicted
from igcam_batch.tables.readers import explained_shards


@dataclass
class OfClass:
    """What is counted for a class, over images × targets.

    Attributes:
        name: of the class, where the model has names.
        rows: how many times it was a target.
        labelled: how often because the dataset says so.
        correct: how often of those the model predicted it.
        confidence: the sum of its confidences.
    """

    name: str | None
    rows: int = 0
    labelled: int = 0
    correct: int = 0
    confidence: float = 0.0


@dataclass
class Agreement:
    """How alike two methods' maps are: sums over the pairs of maps that are not constant.

    Attributes:
        pairs: how many.
        correlation: Spearman's, summed.
        overlap: of the top pixels, summed.
    """

    pairs: int = 0
    correlation: float = 0.0
    overlap: float = 0.0


@dataclass
class Survey:
    """What the pass found.

    Attributes:
        method: whose rows the classes are of.
        images: in each gallery at most; 0: there are no galleries.
        metrics: columns of the score table that are metrics, but `increase`, which is 0 or 1.
        distributions: by method and metric.
        classes: by class index.
        agreement: by two methods.
        blank: by method, maps that are positive nowhere and so say nothing.
        galleries: by method, whose rows they rank.
    """

    method: str
    images: int
    metrics: list[str] = field(default_factory=list)
    distributions: dict[tuple[str, str], Distribution] = field(default_factory=dict)
    classes: dict[int, OfClass] = field(default_factory=dict)
    agreement: dict[tuple[str, str], Agreement] = field(default_factory=dict)
    blank: dict[str, int] = field(default_factory=dict)
    galleries: dict[str, list[Picked]] = field(default_factory=dict)

    def add(self, scores: pa.Table, heatmaps: pa.Table) -> None:
        """A shard: scores and, row by row, their heatmaps."""
        self.metrics = [name for name in METRIC_COLUMNS if name in scores.column_names and name != "increase"]
        methods = scores["method"].to_numpy(zero_copy_only=False)
        maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()
        blank = ~(maps > 0).any((1, 2))
        names = list(dict.fromkeys(methods.tolist()))
        pair, places = _pairs(scores, methods, names)
        disagreement = self._disagreement(maps, places, names)[pair]
        for method in names:
            rows = np.flatnonzero(methods == method)
            own = scores.take(rows)
            for metric in self.metrics:
                counted = self.distributions.setdefault((method, metric), Distribution())
                counted.add(_floats(own, metric))
            self.blank[method] = self.blank.get(method, 0) + int(blank[rows].sum())
            if method == self.method:
                self._add_classes(own)
            if self.images:
                self._pick(method, own, disagreement[rows])

    def _pick(self, method: str, rows: pa.Table, disagreement: np.ndarray) -> None:
        """What a method's rows add to its galleries."""
        columns = _columns(rows) | {"disagreement": disagreement}
        image_ids, targets = rows["image_id"].to_numpy(zero_copy_only=False), rows["target"].to_numpy()
        for picked in self.galleries.setdefault(method, [Picked(gallery, self.images) for gallery in GALLERIES]):
            picked.add(columns, image_ids, targets)

    def _add_classes(self, rows: pa.Table) -> None:
        indices, inverse = np.unique(rows["target"].to_numpy(), return_inverse=True)
        names = dict(zip(rows["target"].to_pylist(), rows["target_name"].to_pylist(), strict=True))
        of_label = labelled(rows)
        correct = of_label & predicted(rows)
        sums = [
            np.bincount(inverse.ravel(), weights, minlength=len(indices))
            for weights in (None, of_label, correct, np.nan_to_num(_floats(rows, "confidence")))
        ]
        for place, index in enumerate(indices.tolist()):
            found = self.classes.setdefault(index, OfClass(names[index]))
            found.rows += int(sums[0][place])
            found.labelled += int(sums[1][place])
            found.correct += int(sums[2][place])
            found.confidence += float(sums[3][place])

    def _disagreement(self, maps: np.ndarray, places: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(pairs,) 1 less the lowest correlation of two methods' maps; NaN with one method."""
        lowest = np.full(len(places), np.nan)
        for (first, one), (second, other) in combinations(enumerate(names), 2):
            both = np.flatnonzero((places[:, first] >= 0) & (places[:, second] >= 0))
            if not len(both):
                continue
            two = maps[places[both, first]], maps[places[both, second]]
            correlation, overlap = rank_correlation(*two), top_overlap(*two)
            known = ~np.isnan(correlation)
            found = self.agreement.setdefault((one, other), Agreement())
            found.pairs += int(known.sum())
            found.correlation += float(correlation[known].sum())
            found.overlap += float(np.nansum(overlap[known]))
            lowest[both] = np.fmin(lowest[both], correlation)
        return 1 - lowest


def survey(output: str, method: str, images: int) -> Survey:
    """Read a run once.

    Args:
        output: OUTPUT of an audit, finished or not.
        method: whose rows classes are of.
        images: in each gallery at most; 0: there are no galleries.
    """
    found = Survey(method, images)
    for scores, heatmaps in explained_shards(output):
        if len(scores):
            found.add(scores, heatmaps)
    return found


def _columns(rows: pa.Table) -> dict[str, np.ndarray]:
    image_ids = rows["image_id"].to_pylist()
    keys = {image_id: image_key(image_id) / 2**64 for image_id in set(image_ids)}
    wrong = labelled(rows) & ~predicted(rows)
    return {name: _floats(rows, name) for name in ("confidence", "masked_confidence", "ebpg")} | {
        "wrong": wrong.astype(np.float64),
        "chance": np.array([keys[image_id] for image_id in image_ids]),
    }


def _floats(rows: pa.Table, name: str) -> np.ndarray:
    found: np.ndarray = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _pairs(scores: pa.Table, methods: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images × targets: (n,) which of them a row is of, and (pairs, methods) the row of each method, -1 where none."""
    images = np.asarray(scores["image_id"].combine_chunks().dictionary_encode().indices)
    keys = np.stack([images, scores["target"].to_numpy()], 1)
    pair = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    places = np.full((int(pair.max()) + 1, len(names)), -1)
    for number, name in enumerate(names):
        rows = np.flatnonzero(methods == name)
        places[pair[rows], number] = rows
    return pair, places
