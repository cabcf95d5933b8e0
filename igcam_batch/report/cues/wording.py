"""A finding in a sentence."""

import numpy as np

from igcam_batch.report.cues.regions import CORNERS
from igcam_batch.report.cues.suspicion import AREAS, Oddity
from igcam_batch.words import isolated

_BORDER, _FIRST_CORNER, _OUTSIDE = 0, 1, 5  # columns of attention()


def finding(odd: Oddity, maps: int, sampled: int, name: str, embedding: str | None) -> str:
    """What is odd about a group of `maps` of the `sampled` of a class; `embedding` is where it is one, or None."""
    name = isolated(" ".join(name.split()))
    if sampled == 1:
        subject, verb = f"the one map of {name}", "looks"
    elif maps == sampled:
        subject, verb = f"the {sampled} sampled maps of {name}", "look"
    else:
        subject, verb = f"{maps} of {sampled} sampled maps of {name}", "look" if maps > 1 else "looks"
    if odd.cue == "corner":
        place = _FIRST_CORNER + CORNERS.index(str(odd.where))
        return f"{subject} {verb} at the {odd.where} corner: {_compared(odd, place)}"
    if odd.cue == "border":
        return f"{subject} {verb} at the border: {_compared(odd, _BORDER)}"
    if odd.cue == "outside boxes":
        return f"{subject} {verb} outside the boxes: {_compared(odd, _OUTSIDE)}"
    if odd.cue == "unusual pattern":
        common = f"{100 * (1 - odd.apart):.0f} % in common"
        if embedding == "spatial":
            return f"{subject} {verb} elsewhere than the others of the class: {common}"
        return f"{subject} {verb} in another pattern than the others of the class, wherever it lies: {common}"
    return f"{subject}: nothing odd"


def _compared(odd: Oddity, place: int) -> str:
    own = f"{100 * odd.mean[place]:.0f} % of their attention"
    if np.isfinite(odd.usual[place]):
        return f"{own}, {100 * odd.usual[place]:.0f} % in other classes"
    if place != _OUTSIDE:  # there is no other class
        return f"{own}, on {100 * AREAS[place]:.0f} % of the area"
    return f"{own}, and no other class has boxes to compare it with"
