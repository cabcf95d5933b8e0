"""How the values of a metric lie, in one pass over them and in bounded memory."""

from dataclasses import dataclass, field

import numpy as np

FINE, BARS = 1000, 25


@dataclass
class Distribution:
    """Values from 0 to 1, counted in fine steps; one beyond counts in the last or the first.

    Attributes:
        counts: (FINE,) int64.
        beyond: how many values were above 1.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(FINE, dtype=np.int64))
    beyond: int = 0

    def add(self, values: np.ndarray) -> None:
        """(n,) float; NaN is no value."""
        known = values[~np.isnan(values)]
        self.beyond += int((known > 1).sum())
        steps = np.clip((known * FINE).astype(np.int64), 0, FINE - 1)
        self.counts += np.bincount(steps, minlength=FINE)

    @property
    def rows(self) -> int:
        """How many values there were."""
        return int(self.counts.sum())

    def bars(self) -> list[int]:
        """How many values lie in each of BARS equal parts of 0..1."""
        return [int(count) for count in self.counts.reshape(BARS, -1).sum(1)]

    def quantile(self, share: float) -> float:
        """The value that so much of the values lie below, to 1 / FINE."""
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.rows, side="left"))
        return (min(place, FINE - 1) + 0.5) / FINE
