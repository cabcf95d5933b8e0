"""Maps of a class into groups of like ones: spectral clustering, as SpRAy does, in two embeddings.

Lapuschkin et al. 2019 cluster the maps as they lie, so that two photographs of one object in two places are as unlike
as two objects. The second embedding does not know the place: see `position_invariant`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.neighbors import kneighbors_graph

FEWEST = 16  # maps that are worth being told apart
MOST_GROUPS = 8
_CLEAR = 0.3  # the silhouette from which on groups are apart; Kaufman and Rousseeuw (1990) call 0.26 to 0.5 weak
_FLOOR = 0.02  # of eigenvalues, below which all are next to 0: their ratios say nothing
_SEED, _STARTS, _TRIES = 0, 10, 3


def spatial(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, d): as they lie. Distances are Hellinger's, those of distributions."""
    return np.asarray(np.sqrt(maps).reshape(len(maps), -1))


def position_invariant(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, d): magnitudes of the Fourier transform, the same wherever a pattern lies.

    A shift changes the phases of a Fourier transform and leaves its magnitudes, which still tell small from large, one
    spot from two, and upright from lying: so these are compared whatever their place. (Moving every map to its centre
    of mass would do that too, but not where there are two spots of changing weight.) The frame is doubled with zeros
    first, so that what leaves it on one side does not come in on the other. Of the roots of the map, as in `spatial`:
    by Parseval's theorem no two maps are then further apart here than there.
    """
    rows, columns = (2 * side for side in maps.shape[1:])
    magnitudes = np.abs(np.fft.rfft2(np.sqrt(maps), s=(rows, columns)))
    return np.asarray(magnitudes.reshape(len(maps), -1) / np.sqrt(rows * columns))


def flat(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, u v): the same."""
    return maps.reshape(len(maps), -1)


def autocorrelation(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, d) of sum 1: how likely two points of a map's attention lie so far apart, that way.

    A distribution, as the map is one, and the same wherever the map's pattern lies (Wiener and Khinchin).
    """
    rows, columns = (2 * side for side in maps.shape[1:])
    powers = np.abs(np.fft.rfft2(maps, s=(rows, columns))) ** 2
    return np.asarray(np.maximum(np.fft.irfft2(powers, s=(rows, columns)), 0).reshape(len(maps), -1))


@dataclass(frozen=True)
class Embedding:
    """A way of seeing maps.

    Attributes:
        points: (n, u, v) -> (n, d), in which like maps are near: what is clustered.
        pattern: (n, u, v) -> (n, e), distributions whose means are compared.
    """

    points: Callable[[np.ndarray], np.ndarray]
    pattern: Callable[[np.ndarray], np.ndarray]


EMBEDDINGS: Mapping[str, Embedding] = {
    "spatial": Embedding(spatial, flat),
    "position-invariant": Embedding(position_invariant, autocorrelation),
}


def groups(embedded: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) int: which group each is of, the largest first.

    As in SpRAy, the eigengap of the normalised Laplacian of the graph of nearest neighbours says how many groups there
    are (von Luxburg 2007, sec. 8.3), and k-means on its eigenvectors (Ng et al. 2001) which. The gap is taken as the
    ratio of neighbouring eigenvalues, which is what tells a graph of k clusters (Peng et al. 2015): differences are
    often largest among the many high eigenvalues of a single group that has an extent. The number with the largest gap
    whose groups are apart, of the three largest, is taken; see `_are_apart`.

    There is one group where maps are few, or none of these numbers will do. A group of fewer maps than a map has
    neighbours, √n, is not told from the rest.
    """
    count, neighbours = len(embedded), round(np.sqrt(len(embedded)))
    one = np.zeros(count, dtype=np.int64)
    if count < FEWEST or np.ptp(embedded, axis=0).max() < 1e-6:
        return one
    near = kneighbors_graph(embedded, neighbours, include_self=False).toarray()
    joined = np.maximum(near, near.T)
    scale = 1 / np.sqrt(joined.sum(1))
    values, vectors = eigh(np.eye(count) - scale[:, None] * joined * scale, subset_by_index=(0, MOST_GROUPS))
    gaps = np.diff(np.log(np.maximum(values, 0) + _FLOOR))
    for found in 1 + np.argsort(-gaps, kind="stable")[:_TRIES]:
        if found == 1:
            return one
        rows = vectors[:, :found]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        labels = KMeans(found, n_init=_STARTS, random_state=_SEED).fit_predict(rows)
        if _are_apart(labels, embedded, joined, neighbours):
            return _by_size(labels)
    return one


def _are_apart(labels: np.ndarray, embedded: np.ndarray, joined: np.ndarray, neighbours: int) -> bool:
    """Whether groups are more than parts of a whole that has an extent, as objects of many sizes or places are.

    A cut through points that lie evenly on a line, the thinnest of such wholes, parts some k² / 4 pairs of neighbours,
    for k neighbours of each point: where half as many are parted from every group, there is a gap.
    """
    if len(np.unique(labels)) < 2:
        return False
    parted = [joined[labels == label][:, labels != label].sum() for label in np.unique(labels)]
    return max(parted) <= neighbours**2 / 8 and float(silhouette_score(embedded, labels)) >= _CLEAR


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The same groups, numbered from the largest."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return np.asarray(places[labels])
