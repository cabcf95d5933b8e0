"""Boxes as datasets write them, and boxes that mean something."""

from collections.abc import Mapping
from typing import Any

from igcam_batch.sources.rows import Box

SIDES = ("left", "top", "right", "bottom")
NO_AREA = "boxes have no area in their image and are left out"


def box_of(value: Mapping[str, Any]) -> Box:
    """An object of label, left, top, right and bottom; KeyError, TypeError or ValueError where it is none."""
    left, top, right, bottom = (float(value[side]) for side in SIDES)
    return Box(str(value["label"]), left, top, right, bottom)


def has_area(box: Box, width: float, height: float) -> bool:
    """Whether any of a box lies in an image of so many pixels; a size that is NaN or 0 is not known."""
    inside = (box.left < width or not width > 0) and (box.top < height or not height > 0)
    return inside and box.right > max(box.left, 0) and box.bottom > max(box.top, 0)
