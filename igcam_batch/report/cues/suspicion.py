"""How odd a group of maps is, and in which way.

For each cue there is an effect: how much more of the attention the group has there than the maps of all other classes,
less two standard errors, so that a few maps that happen to agree do not count as many that do.

- corner: one of the four, a quarter of a side each;
- border: within an eighth of a side of an edge, less what that corner explains;
- outside boxes: the share that lies outside the objects (1 - EBPG), where there are boxes;
- unusual pattern: how far the group's pattern lies from that of the rest of its class (total variation, halved, as
  objects may lie anywhere).

Suspicion, in 0..1, is the largest of the effects, times

- how much of the group's attention lies outside the boxes, where there are some, but for the cue that says just that:
  who looks at a corner because the object is there looks at the object;
- the root of the group's share of its class: what half of a class has counts more than what a twentieth has;
- (n - 1) / (n + 4), for n maps: one is no pattern, and six of a kind are half a reason.

With no other class, what is usual in corners and border is their share of the area, and outside boxes half.
"""

from dataclasses import dataclass

import numpy as np

from igcam_batch.report.cues.moments import Moments, error_of_difference
from igcam_batch.report.cues.regions import BORDER_AREA, CORNER_AREA, CORNERS, border_share, corner_shares

CUES = ("corner", "border", "outside boxes", "unusual pattern")
LEAST = 0.1  # suspicion below which nothing is said to be odd
_ERRORS, _FEW = 2.0, 5.0
ENOUGH = 6  # maps; of fewer, less than half of an effect counts
AREAS = (BORDER_AREA, *[CORNER_AREA] * 4)
_USUAL = np.array([*AREAS, 0.5])  # where no other class says it


def attention(maps: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 and (n,) -> (n, 6): border, four corners, outside the boxes; NaN without boxes."""
    return np.column_stack([border_share(maps), corner_shares(maps), np.clip(1 - inside, 0, 1)]).astype(np.float64)


@dataclass(frozen=True)
class Oddity:
    """What is odd about a group.

    Attributes:
        cue: one of CUES, or 'none'.
        where: which corner; None for other cues.
        suspicion: 0..1.
        mean: (6,) of attention().
        usual: (6,) the same of all other classes; NaN where they have no such value.
        error: (6,) the standard error of the difference of the two.
        apart: how far its pattern lies from that of the rest of its class, 0..1; NaN where it is all of it.
    """

    cue: str
    where: str | None
    suspicion: float
    mean: np.ndarray
    usual: np.ndarray
    error: np.ndarray
    apart: float


def oddity(own: Moments, others: Moments, apart: float, share: float, maps: int) -> Oddity:
    """Judge a group.

    Args:
        own: of its attention().
        others: of that of all other classes.
        apart: its pattern's distance from the rest of its class, less what chance makes; NaN where it is all of it.
        share: its share of its class.
        maps: how many it has.
    """
    usual = np.where(others.count > 0, others.mean, _USUAL)
    error = error_of_difference(own, others)
    effects = np.nan_to_num(np.clip(own.mean - usual - _ERRORS * np.nan_to_num(error), 0, None))
    outside = own.mean[5] if np.isfinite(own.mean[5]) else 1.0
    corner = int(np.argmax(effects[1:5]))
    strengths = (
        effects[1 + corner] * outside,
        max(0.0, effects[0] - effects[1 + corner]) * outside,
        effects[5],
        (0.0 if np.isnan(apart) else apart / 2) * outside,
    )
    best = int(np.argmax(strengths))
    suspicion = float(strengths[best] * np.sqrt(share) * (maps - 1) / (maps - 1 + _FEW))
    cue = CUES[best] if suspicion >= LEAST else "none"
    where = CORNERS[corner] if cue == "corner" else None
    return Oddity(cue, where, suspicion, own.mean, others.mean, error, apart)
