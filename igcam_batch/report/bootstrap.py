"""Confidence intervals of means, by a bootstrap that goes through the rows once.

The Poisson bootstrap (Hanley and MacGibbon, Comput. Methods Programs Biomed. 2006; Chamandy et al., Google 2012): in
each replicate every image counts as often as a Poisson number of mean 1 says. Rows of one image stand or fall together,
because they are not independent; and every column meets the same replicates, so that a difference of two columns is a
paired one. An image's numbers depend on its name alone: not on its place, its shard, or what else is there.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

LEVEL = 0.95
_STEP, _MIX1, _MIX2 = (np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_LANES = 4  # numbers of 16 bits that one hash gives


def image_key(image_id: str) -> int:
    """64 bits that stand for an image, the same in every process."""
    return int.from_bytes(blake2b(image_id.encode(), digest_size=8).digest())


def poisson_weights(keys: np.ndarray, replicates: int) -> np.ndarray:
    """(n,) uint64 keys -> (n, replicates) float32: how often each image counts in each replicate.

    SplitMix64 (Steele et al., OOPSLA 2014) of the key and the replicate, through the inverse of Poisson(1)'s
    distribution at 16 bits.
    """
    counters = np.arange(1, -(-replicates // _LANES) + 1, dtype=np.uint64)
    mixed = keys[:, None] + counters * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX2
    mixed ^= mixed >> np.uint64(31)
    lanes: np.ndarray = mixed.view(np.uint16)[:, :replicates]
    weights: np.ndarray = _POISSON[lanes]
    return weights


def _poisson_table() -> np.ndarray:
    """The Poisson(1) number that belongs to each of the 65,536 equal parts of 0..1."""
    masses = np.exp(-1) / np.cumprod(np.concatenate(([1.0], np.arange(1.0, 16))))
    places = (np.arange(2**16) + 0.5) / 2**16
    return np.searchsorted(np.cumsum(masses), places).astype(np.float32)


_POISSON = _poisson_table()


def sums_of_images(values: np.ndarray, image: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """What `Means.add` takes: the sums of the values of each image, and how many they are, (images, columns) each.

    Args:
        values: (n, columns), NaN where there is none.
        image: (n,) which of the images each row is of.
        images: how many there are.
    """
    known = np.isfinite(values)
    totals, counts = np.zeros((images, values.shape[1])), np.zeros((images, values.shape[1]))
    np.add.at(totals, image, np.where(known, values, 0.0))
    np.add.at(counts, image, known)
    return totals, counts


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: over the rows that have a value; None where none has.
        low, high: of the 95 % percentile interval over images; None with fewer than two images.
        rows: how many rows have a value.
        images: how many images they are of.
    """

    mean: float | None
    low: float | None
    high: float | None
    rows: int
    images: int


class Means:
    """Sums of columns and of their replicates, block by block.

    Args:
        columns: how many.
        replicates: resamples of the images.
    """

    def __init__(self, columns: int, replicates: int) -> None:
        self._sums, self._rows, self._images = (np.zeros(columns) for _ in range(3))
        self._resampled = np.zeros((2, replicates, columns), dtype=np.float32)

    def add(self, sums: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> None:
        """Some images: (n, columns) sums and numbers of their values, (n, replicates) weights."""
        self._sums += sums.sum(0, dtype=np.float64)
        self._rows += rows.sum(0, dtype=np.float64)
        self._images += (rows > 0).sum(0)
        turned = weights.T
        self._resampled[0] += turned @ sums.astype(np.float32)
        self._resampled[1] += turned @ rows.astype(np.float32)

    def intervals(self) -> list[Interval]:
        """One for each column."""
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = self._resampled[0].astype(np.float64) / self._resampled[1]
        found = []
        for column, (total, rows, images) in enumerate(zip(self._sums, self._rows, self._images, strict=True)):
            low = high = None
            values = resampled[:, column]
            values = values[np.isfinite(values)]  # a replicate may have none of the few images there are
            if images > 1 and len(values):
                tails = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
                low, high = (float(edge) for edge in np.percentile(values, tails))
            found.append(Interval(float(total / rows) if rows else None, low, high, int(rows), int(images)))
        return found
