"""Boxes from maps, as papers on weakly supervised localisation make them."""

import numpy as np
from scipy import ndimage

THRESHOLD = 0.2
_WITH_CORNERS = np.ones((3, 3), dtype=int)


def pseudo_box(heat: np.ndarray, threshold: float = THRESHOLD) -> tuple[int, int, int, int] | None:
    """The box around the largest connected part of a map that is above a share of its maximum.

    Zhou et al. 2016, section 3.2, where the share is 20 %. Pixels that touch at a corner are connected. Of parts of one
    size, the first from the top.

    Args:
        heat: (H, W), non-negative, upsampled: at a layer's own resolution a box could only be as fine as its cells.
        threshold: 0 to 1; what equals it is not above.

    Returns:
        (left, top, right, bottom) in pixels of the map, right and bottom exclusive; None for a map that is zero.
    """
    highest = float(heat.max(initial=0))
    if not highest > 0:
        return None
    parts, _ = ndimage.label(heat > threshold * highest, structure=_WITH_CORNERS)
    sizes = np.bincount(parts.ravel())[1:]
    if not len(sizes):
        return None
    rows, columns = ndimage.find_objects(parts)[int(sizes.argmax())]
    return columns.start, rows.start, columns.stop, rows.stop
