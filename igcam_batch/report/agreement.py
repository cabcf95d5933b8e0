"""How alike two maps of one image are, whatever their scales: by the order of their pixels, and by their tops."""

import numpy as np
from scipy.stats import rankdata

TOP_SHARE = 0.15  # of the pixels: what the paper keeps of an image for Drop and Increase


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's coefficient of each pair of maps, ties at their mean rank.

    Adebayo et al. (NeurIPS 2018) compare saliency maps by it.

    Args:
        first: (n, u, v).
        second: (n, u, v).

    Returns:
        (n,) float64 in -1..1, NaN where a map is constant.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1).astype(np.float64), axis=1) for maps in (first, second)]
    one, other = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1)))


def top_overlap(first: np.ndarray, second: np.ndarray, share: float = TOP_SHARE) -> np.ndarray:
    """Intersection over union of the highest pixels of each pair of maps.

    Args:
        first: (n, u, v).
        second: (n, u, v).
        share: of the pixels that count as the highest, at least one; of equal ones the first.

    Returns:
        (n,) float64 in 0..1, NaN where a map is constant.
    """
    one, other = (_top(maps.reshape(len(maps), -1), share) for maps in (first, second))
    found = (one & other).sum(1) / np.maximum((one | other).sum(1), 1)
    flat = [np.ptp(maps.reshape(len(maps), -1).astype(np.float64), axis=1) == 0 for maps in (first, second)]
    return np.where(flat[0] | flat[1], np.nan, found)


def _top(maps: np.ndarray, share: float) -> np.ndarray:
    """(n, pixels) -> the same in bool, the highest of each True."""
    count = max(1, round(share * maps.shape[1]))
    highest = np.argsort(-maps.astype(np.float64), axis=1, kind="stable")[:, :count]
    found = np.zeros(maps.shape, dtype=bool)
    np.put_along_axis(found, highest, True, axis=1)
    return found
