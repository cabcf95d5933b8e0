"""Where a map's attention lies: in the border, in each corner."""

from functools import cache

import numpy as np

BORDER = 1 / 8  # of a side: how wide the border is
CORNER = 1 / 4  # of a side: how large a corner is
CORNERS = ("top left", "top right", "bottom left", "bottom right")
BORDER_AREA, CORNER_AREA = 1 - (1 - 2 * BORDER) ** 2, CORNER**2


def border_share(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n,): the share within BORDER of an edge."""
    rows, columns = (_covered(side, BORDER, 1 - BORDER) for side in maps.shape[1:])
    return np.asarray(1 - np.einsum("nuv,u,v->n", maps, rows, columns))


def corner_shares(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, 4): the share in each of CORNERS."""
    top, left = (_covered(side, 0, CORNER) for side in maps.shape[1:])
    bottom, right = (_covered(side, 1 - CORNER, 1) for side in maps.shape[1:])
    pairs = ((top, left), (top, right), (bottom, left), (bottom, right))
    return np.stack([np.einsum("nuv,u,v->n", maps, rows, columns) for rows, columns in pairs], 1)


@cache
def _covered(cells: int, low: float, high: float) -> np.ndarray:
    """(cells,): how much of each lies between two places of a side, in 0..1."""
    edges = np.linspace(0, 1, cells + 1)
    return np.asarray(np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * cells)
