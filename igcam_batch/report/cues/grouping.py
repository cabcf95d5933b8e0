"""Maps of a class into groups of like ones: spectral clustering, as SpRAy does, in two embeddings."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.neighbors import kneighbors_graph

FEWEST = 16  # maps that are worth being told apart
MOST_GROUPS = 8
_CLEAR = 0.3  # the silhouette from which on groups are apart; Kaufman and Rousseeuw (1990) call 0.26 to 0.5 weak
_NUMBERS, _STARTS = 3, 5  # of groups that are tried; of k-means
_SAME = 1e-6
_SEED = 0


def spatial(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, d): as they lie. Distances are Hellinger's, those of distributions."""
    return np.asarray(np.sqrt(maps).reshape(len(maps), -1))


def position_invariant(maps: np.ndarray) -> np.ndarray:
    """(n, u, v) of sum 1 -> (n, d): magnitudes of the Fourier transform, the same wherever a pattern lies.

    The frame is doubled with zeros first, so that what leaves it on one side does not come in on the other.
    """
    rows, columns = (2 * side for side in maps.shape[1:])
    magnitudes = np.abs(np.fft.rfft2(np.sqrt(maps), s=(rows, columns)))
    return np.asarray(magnitudes.reshape(len(maps), -1) / np.sqrt(rows * columns))


EMBEDDINGS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "spatial": spatial,
    "position-invariant": position_invariant,
}


def groups(embedded: np.ndarray) -> np.ndarray:
    """(n, d) -> (n,) int: which group each is of, the largest first.

    Spectral clustering: k-means on the first eigenvectors (Ng et al. 2001) of the normalised Laplacian of the graph of
    nearest neighbours. The widest gaps between its eigenvalues say how many groups there may be (von Luxburg 2007, sec.
    8.3; Lapuschkin et al. 2019); of those numbers the one with the highest silhouette is taken. There is one group
    where maps are few, or where the groups lie hardly further apart than within themselves.
    """
    count = len(embedded)
    if count < FEWEST or np.ptp(embedded, axis=0).max() < _SAME:
        return np.zeros(count, dtype=np.int64)
    values, vectors = _spectrum(embedded)
    gaps = np.diff(values)[1:]  # after the second eigenvalue, the third ...: of two groups and more
    best, labels = _CLEAR, np.zeros(count, dtype=np.int64)
    for gap in np.argsort(-gaps, kind="stable")[:_NUMBERS].tolist():
        rows = vectors[:, : gap + 2]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        found = KMeans(gap + 2, n_init=_STARTS, random_state=_SEED).fit_predict(rows)
        if len(np.unique(found)) > 1 and (clear := silhouette_score(embedded, found)) > best:
            best, labels = clear, found
    return _by_size(labels)


def _spectrum(embedded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest eigenvalues, (MOST_GROUPS + 1,), and eigenvectors, (n, MOST_GROUPS + 1), of the Laplacian."""
    near = kneighbors_graph(embedded, round(np.sqrt(len(embedded))), include_self=False).toarray()
    joined = np.maximum(near, near.T)
    scale = 1 / np.sqrt(joined.sum(1))
    laplacian = np.eye(len(embedded)) - scale[:, None] * joined * scale
    values, vectors = eigh(laplacian, subset_by_index=(0, MOST_GROUPS))
    return values, vectors


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The same groups, the largest called 0; of equal ones the one that comes first."""
    sizes = np.bincount(labels)
    order = sorted(range(len(sizes)), key=lambda label: (-sizes[label], np.argmax(labels == label)))
    places = np.empty(len(sizes), dtype=np.int64)
    places[order] = np.arange(len(sizes))
    return np.asarray(places[labels])
