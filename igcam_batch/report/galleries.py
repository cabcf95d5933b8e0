"""Which images a person should see: the best, the worst and the most surprising of a run, and some at random.

A gallery orders the rows of one method by a number; of each image its first row counts, so that no image fills a
gallery. What is kept is as long as the gallery, whatever the length of the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from igcam_batch.words import amount_in_words, percentage

Columns = Mapping[str, np.ndarray]
"""Of some rows of one method, each (n,) float64, NaN where there is no value: `confidence`, `masked_confidence`,
`ebpg`, `wrong` (1 where the target is the dataset's label and another class was predicted), `disagreement` (1 less the
lowest rank correlation with another method's map) and `chance` (uniform in 0..1, by the image's name)."""

SURE = 0.5  # the confidence from which on a prediction is called so
_INSIDE = 0.5  # the EBPG from which on a map does not look elsewhere
_ALIKE = 0.5  # the rank correlation from which on maps do not disagree


@dataclass(frozen=True)
class Gallery:
    """What a gallery shows.

    Attributes:
        key: its name in the page.
        title, meaning: for people.
        order: rows in, their numbers out: the highest are shown, NaN never.
        says: what such a number says of its image, where the scores on a card do not.
    """

    key: str
    title: str
    meaning: str
    order: Callable[[Columns], np.ndarray]
    says: Callable[[float], str] = lambda number: ""  # noqa: ARG005


def positive(numbers: np.ndarray) -> np.ndarray:
    """The numbers above zero, NaN for the others: those are not shown."""
    return np.where(numbers > 0, numbers, np.nan)


def _points(number: float) -> str:
    """A difference of two shares, as '12 points'."""
    points = round(100 * number)
    return amount_in_words(points, "point") if points else "less than a point"


GALLERIES = (
    Gallery(
        "sure-elsewhere",
        "Sure, and looking elsewhere",
        f"A confidence of {percentage(SURE)} or more, with less than half of the attention inside the boxes; ranked by "
        "confidence × (1 − EBPG).",
        lambda rows: np.where(
            (rows["confidence"] >= SURE) & (rows["ebpg"] < _INSIDE), rows["confidence"] * (1 - rows["ebpg"]), np.nan
        ),
    ),
    Gallery(
        "drop",
        "Confidence lost without the rest",
        "The pixels that the map ranks highest, alone, lose the most confidence: the map misses what counted.",
        lambda rows: positive(rows["confidence"] - rows["masked_confidence"]),
        lambda number: f"confidence falls by {_points(number)}",
    ),
    Gallery(
        "disagree",
        "Methods disagree",
        f"The lowest rank correlation (Spearman) between the maps of two methods, where it is below {_ALIKE:g}.",
        lambda rows: np.where(rows["disagreement"] > 1 - _ALIKE, rows["disagreement"], np.nan),
        lambda number: f"rank correlation {1 - number:.2f}".replace("-", "−"),
    ),
    Gallery(
        "wrong",
        "Wrong, and far from the label",
        "The model predicts another class than the dataset's, and gives the dataset's the least confidence.",
        lambda rows: np.where(rows["wrong"] == 1, 1 - rows["confidence"], np.nan),
    ),
    Gallery(
        "worst",
        "Worst: least attention inside the boxes",
        "The lowest EBPG. Small boxes come first, as there is less of them to hit.",
        lambda rows: 1 - rows["ebpg"],
    ),
    Gallery(
        "best",
        "Best: most attention inside the boxes",
        "The highest EBPG. Boxes that fill their image come first.",
        lambda rows: rows["ebpg"],
    ),
    Gallery(
        "gain",
        "Confidence gained without the rest",
        "The pixels that the map ranks highest, alone, gain the most confidence.",
        lambda rows: positive(rows["masked_confidence"] - rows["confidence"]),
        lambda number: f"confidence rises by {_points(number)}",
    ),
    Gallery("sample", "At random", "Images drawn by chance, to see what is usual.", lambda rows: rows["chance"]),
)


@dataclass(frozen=True, order=True)
class Shown:
    """An image × target in a gallery; the higher `number`, the earlier."""

    number: float
    image_id: str
    target: int


@dataclass
class Picked:
    """The first rows of a gallery while a run is read.

    Attributes:
        gallery: what is picked for.
        most: how many images it has room for.
        shown: those so far, in order.
        ranked: how many rows had a number.
    """

    gallery: Gallery
    most: int
    shown: list[Shown] = field(default_factory=list)
    ranked: int = 0

    def add(self, rows: Columns, image_ids: np.ndarray, targets: np.ndarray) -> None:
        """Some rows: their columns, image ids and targets, each (n,)."""
        numbers = self.gallery.order(rows)
        known = np.flatnonzero(~np.isnan(numbers))
        self.ranked += len(known)
        lowest = self.shown[-1].number if len(self.shown) == self.most else -np.inf
        better = known[numbers[known] >= lowest]
        found = [Shown(float(numbers[row]), str(image_ids[row]), int(targets[row])) for row in better]
        first: dict[str, Shown] = {}
        for shown in sorted([*self.shown, *found], key=lambda shown: (-shown.number, shown.image_id, shown.target)):
            first.setdefault(shown.image_id, shown)
        self.shown = list(first.values())[: self.most]
