"""Means of groups of maps, how sure they are, and how far apart two of them lie."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Of the values of some maps: how many there are, their sums, and the sums of their squares, (d,) each."""

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """(n, d) -> its moments; NaN is no value."""
        known = np.isfinite(values)
        zeroed = np.where(known, values, 0).astype(np.float64)
        return cls(known.sum(0), zeroed.sum(0), (zeroed**2).sum(0))

    @classmethod
    def none(cls, columns: int) -> "Moments":
        """Of no map."""
        return cls(*(np.zeros(columns) for _ in range(3)))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)

    @property
    def mean(self) -> np.ndarray:
        """(d,), NaN where there was no value."""
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)

    @property
    def variance(self) -> np.ndarray:
        """(d,): of the values, unbiased; 0 with one value or none."""
        spread = np.maximum(self.squares - self.total * np.nan_to_num(self.mean), 0)
        return np.asarray(spread / np.maximum(self.count - 1, 1))


def error_of_difference(own: Moments, others: Moments) -> np.ndarray:
    """(d,): the standard error of the difference of two means.

    The spread of a few maps that happen to agree is no measure, so that of the others is taken where it is larger. NaN
    where there is no value, or nothing to tell the spread from.
    """
    variance = np.maximum(own.variance, others.variance)
    known = (own.count > 0) & (own.count + others.count > 1) & (np.maximum(own.count, others.count) > 1)
    squared = variance / np.maximum(own.count, 1) + others.variance / np.maximum(others.count, 1)
    return np.where(known, np.sqrt(squared), np.nan)


def apart(own: Moments, rest: Moments) -> float:
    """Total variation in 0..1 between the means of two groups of distributions, less what chance alone makes of it.

    By chance a difference of means has the standard deviation s √(1/n + 1/m), with the spread s of both groups
    together, and a mean size of √(2/π) times that. NaN where one of the groups is empty.
    """
    if not own.count.all() or not rest.count.all():
        return float("nan")
    differences = np.abs(own.mean - rest.mean)
    chance = np.sqrt(2 / np.pi * (own + rest).variance * (1 / own.count + 1 / rest.count))
    return max(0.0, float((differences - chance).sum() / 2))
