"""Means of the changes, over all pairs and by class, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from igcam_batch.report.bootstrap import Interval, Means, poisson_weights, sums_of_images
from igcam_batch.report.compare.runs import Side, of_one_model
from igcam_batch.report.summary import REPLICATES, better_of
from igcam_batch.report.wording import WORDINGS


@dataclass
class OfClass:
    """Sums over the pairs of a class: how many have a value, and the values of A and of B, (columns,) each."""

    name: str | None
    pairs: int
    known: np.ndarray
    a: np.ndarray
    b: np.ndarray
    correlation: float = 0.0
    correlated: int = 0


@dataclass
class Differences:
    """What the pairs come to while they come in.

    Attributes:
        columns: what is compared; `rank_correlation` and `top_overlap` are kept beside them.
        classes: by class index.
        disagreeing: pairs whose images the two models give different classes.
    """

    columns: Sequence[str]
    classes: dict[int, OfClass] = field(default_factory=dict)
    disagreeing: int = 0

    def __post_init__(self) -> None:
        count = len(self.columns)
        self._a, self._b, self._change = (Means(count, REPLICATES) for _ in range(3))
        self._alike = Means(2, REPLICATES)

    def add(
        self,
        scores: tuple[pa.Table, pa.Table],
        keys: np.ndarray,
        values: Sequence[np.ndarray],
        alike: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Some pairs: n rows of each run, (n,) keys of their images, (n, columns) values of each, (n,) agreement."""
        a, b = values
        both = np.isfinite(a) & np.isfinite(b)
        a, b = np.where(both, a, np.nan), np.where(both, b, np.nan)
        images, inverse = np.unique(keys, return_inverse=True)
        weights = poisson_weights(images, REPLICATES)
        for means, numbers in (
            (self._a, a),
            (self._b, b),
            (self._change, b - a),
            (self._alike, np.stack(alike, 1)),
        ):
            means.add(*sums_of_images(numbers, inverse.ravel(), len(images)), weights)
        predicted = [side["predicted"].to_numpy() for side in scores]
        self.disagreeing += int((predicted[0] != predicted[1]).sum())
        self._add_classes(scores[0], a, b, alike[0])

    def intervals(self) -> list[tuple[str, Interval, Interval, Interval]]:
        """Each column with A's mean, B's, and that of B less A."""
        found = zip(self.columns, self._a.intervals(), self._b.intervals(), self._change.intervals(), strict=True)
        return list(found)

    def alike(self) -> tuple[Interval, Interval]:
        """The mean rank correlation and the mean overlap of the top pixels."""
        correlation, overlap = self._alike.intervals()
        return correlation, overlap

    def _add_classes(self, scores: pa.Table, a: np.ndarray, b: np.ndarray, correlation: np.ndarray) -> None:
        targets = scores["target"].to_numpy()
        names = dict(zip(targets.tolist(), scores["target_name"].to_pylist(), strict=True))
        for target in np.unique(targets).tolist():
            rows = targets == target
            zero = np.zeros(len(self.columns))
            found = self.classes.setdefault(target, OfClass(names[target], 0, zero, zero, zero))
            found.pairs += int(rows.sum())
            found.known = found.known + np.isfinite(a[rows]).sum(0)
            found.a, found.b = found.a + np.nansum(a[rows], 0), found.b + np.nansum(b[rows], 0)
            known = correlation[rows][np.isfinite(correlation[rows])]
            found.correlation += float(known.sum())
            found.correlated += len(known)


def better(column: str, change: Interval, one_model: bool) -> str | None:
    """A or B, where the interval of the difference leaves no doubt.

    Args:
        column: what is compared.
        change: B less A, paired.
        one_model: whether both runs explained it. Of two, a metric that is measured by the model's own confidence says
            nothing: one that is never sure has little to lose, and is not better for it.
    """
    if not one_model and _by_confidence(column):
        return None
    direction = "higher" if column == "correct" else WORDINGS[column].better if column in WORDINGS else ""
    return better_of(change, direction, "B", "A")


def caution(a: Side, b: Side, table: pa.Table) -> str:
    """On which metrics of differences.parquet no side can be named better, and why; '' where there are none."""
    compared = [row["metric"] for row in table.to_pylist() if row["rows"]]
    names = [WORDINGS[metric].short for metric in compared if _by_confidence(metric)]
    if not names or of_one_model(a, b):
        return ""
    *others, last = names
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"No side is named better on {listed}: of two models, each is measured by its own confidence."


def _by_confidence(column: str) -> bool:
    return column in WORDINGS and WORDINGS[column].by_confidence
