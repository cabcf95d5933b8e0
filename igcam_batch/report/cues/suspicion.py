"""How odd a group of maps is, and in which way.

For each cue there is an effect: how much more of the attention the group has there than the maps of all other classes,
less two standard errors, so that a few maps that happen to agree do not count as many that do.

- corner: one of the four, a quarter of a side each;
- border: within an eighth of a side of an edge, less what that corner explains;
- outside boxes: the share that lies outside the objects (1 - EBPG), where there are boxes;
- unusual pattern: how far the group's mean map lies from that of the rest of its class (total variation, halved, as
  objects may lie anywhere), less what the other cues explain.

Suspicion, in 0..1, is the largest of the effects, times

- how much of the group's attention lies outside the boxes, where there are some, but for the cue that says just that:
  who looks at a corner because the object is there looks at the object;
- the root of the group's share of its class: what half of a class has counts more than what a twentieth has;
- n / (n + 5), for n maps: five of a kind are half a reason.

With no other class, what is usual in corners and border is their share of the area, and outside boxes half.
"""

from dataclasses import dataclass

import numpy as np

from igcam_batch.report.cues.regions import BORDER_AREA, CORNER_AREA, CORNERS, border_share, corner_shares

CUES = ("corner", "border", "outside boxes", "unusual pattern")
LEAST = 0.1  # suspicion below which nothing is said to be odd
_OUTSIDE = 0.5
_ERRORS, _FEW = 2.0, 5.0
_COLUMNS = 6  # of attention(): the border, four corners, outside the boxes
USUAL = np.array([BORDER_AREA, *[CORNER_AREA] * 4, _OUTSIDE])


def attention(maps: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 and (n,) -> (n, 6): border, four corners, outside the boxes; NaN without boxes."""
    return np.column_stack([border_share(maps), corner_shares(maps), 1 - inside]).astype(np.float64)


@dataclass(frozen=True)
class Moments:
    """Of attention(): how many values, their sums, and the sums of their squares, (6,) each."""

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """(n, 6) -> its moments; NaN is no value."""
        known = np.isfinite(values)
        zeroed = np.where(known, values, 0)
        return cls(known.sum(0), zeroed.sum(0), (zeroed**2).sum(0))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)

    @property
    def mean(self) -> np.ndarray:
        """(6,), NaN where there was no value."""
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)

    @property
    def error(self) -> np.ndarray:
        """(6,): the standard error of the mean; 0 with one value."""
        spread = np.maximum(self.squares - self.total * np.nan_to_num(self.mean), 0)
        return np.asarray(np.sqrt(spread / np.maximum(self.count - 1, 1) / np.maximum(self.count, 1)))


NONE = Moments(np.zeros(_COLUMNS), np.zeros(_COLUMNS), np.zeros(_COLUMNS))


@dataclass(frozen=True)
class Oddity:
    """What is odd about a group.

    Attributes:
        cue: one of CUES, or 'none'.
        where: which corner; None for other cues.
        suspicion: 0..1.
        mean: (6,) of attention().
        usual: (6,) the same of all other classes, or of no picture in particular where there is none.
        apart: total variation between its mean map and that of the rest of its class; NaN where it is all of it.
    """

    cue: str
    where: str | None
    suspicion: float
    mean: np.ndarray
    usual: np.ndarray
    apart: float


def oddity(own: Moments, others: Moments, apart: float, share: float, maps: int) -> Oddity:
    """Judge a group.

    Args:
        own: of its attention.
        others: of that of all other classes.
        apart: its mean map's distance from the rest of its class, less what chance makes; NaN where it is all of it.
        share: its share of its class.
        maps: how many it has.
    """
    known = others.count > 0
    usual = np.where(known, others.mean, USUAL)
    error = np.sqrt(own.error**2 + np.where(known, others.error, 0) ** 2)
    effects = np.nan_to_num(np.clip(own.mean - usual - _ERRORS * error, 0, None))
    outside = own.mean[5] if np.isfinite(own.mean[5]) else 1.0
    corner = int(np.argmax(effects[1:5]))
    named = [
        effects[1 + corner] * outside,
        max(0.0, effects[0] - effects[1 + corner]) * outside,
        effects[5],
    ]
    strengths = [*named, 0.0 if np.isnan(apart) else max(0.0, apart / 2 * outside - max(named))]
    best = int(np.argmax(strengths))
    suspicion = float(strengths[best] * np.sqrt(share) * maps / (maps + _FEW))
    cue = CUES[best] if suspicion >= LEAST else "none"
    return Oddity(cue, CORNERS[corner] if cue == "corner" else None, suspicion, own.mean, usual, apart)


def finding(odd: Oddity, maps: int, sampled: int, name: str, alone: bool) -> str:
    """What is odd about a group of `maps` of the `sampled` of a class, in a sentence; `alone`: no other class."""
    subject = f"{maps} of {sampled} sampled maps of {name}" if sampled > 1 else f"the one map of {name}"
    verb = "look" if maps > 1 else "looks"
    if odd.cue == "corner":
        place = 1 + CORNERS.index(str(odd.where))
        return f"{subject} {verb} at the {odd.where} corner: {_compared(odd, place, alone)}"
    if odd.cue == "border":
        return f"{subject} {verb} at the border: {_compared(odd, 0, alone)}"
    if odd.cue == "outside boxes":
        return f"{subject} {verb} outside the boxes: {_compared(odd, 5, alone)}"
    if odd.cue == "unusual pattern":
        return f"{subject} {verb} elsewhere than the others of the class: {100 * (1 - odd.apart):.0f} % in common"
    return f"{subject}: nothing odd"


def _compared(odd: Oddity, place: int, alone: bool) -> str:
    usual = f"{100 * odd.usual[place]:.0f} %"
    if not alone:
        against = f"{usual} in other classes"
    else:
        against = f"{usual} of the area" if place < 5 else "there is no other class to compare it with"
    return f"{100 * odd.mean[place]:.0f} % of their attention, {against}"
