"""The colour maps that a page offers, as tables of 256 colours."""

from base64 import b64encode

import matplotlib as mpl
import numpy as np

COLOUR_MAPS = ("inferno", "viridis", "turbo")
"""The first two are ordered by lightness to every eye; the third tells more levels apart."""


def tables() -> dict[str, str]:
    """Each colour map's (256, 3) uint8, in base64."""
    return {
        name: b64encode(mpl.colormaps[name](np.arange(256), bytes=True)[:, :3].tobytes()).decode()
        for name in COLOUR_MAPS
    }
