"""Maps on fewer cells."""

import numpy as np


def reduced(maps: np.ndarray, most: int) -> np.ndarray:
    """(..., u, v) -> the same where both sides are `most` cells or fewer; else the means of equal parts of it.

    Where a cell lies in two parts, each gets the share of it that lies there, so that nothing moves.
    """
    for axis in (-2, -1):
        side = maps.shape[axis]
        if side > most:
            parts = overlaps(side, most).astype(maps.dtype) * (maps.dtype.type(most) / side)
            maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ parts, -1, axis)
    return maps


def overlaps(cells: int, parts: int) -> np.ndarray:
    """(cells, parts) float64: how much of each cell of a side lies in each of the equal parts of that side, 0..1."""
    edges, cuts = np.arange(cells + 1) * parts, np.arange(parts + 1) * cells  # of a side of cells × parts units
    common = np.minimum(edges[1:, None], cuts[None, 1:]) - np.maximum(edges[:-1, None], cuts[None, :-1])
    return np.asarray(np.clip(common, 0, None) / parts)
