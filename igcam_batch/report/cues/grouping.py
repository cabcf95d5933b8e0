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

    The eigengap of the normalised Laplacian of the graph of nearest neighbours says how many groups there are (von
    Luxburg 2007, sec. 8.3; Lapuschkin et al. 2019), and k-means on its eigenvectors (Ng et al. 2001) which. There is
    one where maps are few, or where the groups lie no further apart than within themselves.
    """
    count = len(embedded)
    if count < FEWEST or np.ptp(embedded, axis=0).max() < 1e-6:
        return np.zeros(count, dtype=np.int64)
    near = kneighbors_graph(embedded, round(np.sqrt(count)), include_self=False).toarray()
    joined = np.maximum(near, near.T)
    scale = 1 / np.sqrt(joined.sum(1))
    values, vectors = eigh(np.eye(count) - scale[:, None] * joined * scale, subset_by_index=(0, MOST_GROUPS))
    found = int(np.argmax(np.diff(values))) + 1
    if found == 1:
        return np.zeros(count, dtype=np.int64)
    rows = vectors[:, :found]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    labels = KMeans(found, n_init=10, random_state=_SEED).fit_predict(rows)
    if len(np.unique(labels)) < 2 or silhouette_score(embedded, labels) < _CLEAR:
        return np.zeros(count, dtype=np.int64)
    sizes = np.bincount(labels, minlength=found)
    order = np.argsort(-sizes, kind="stable")
    places = np.empty(found, dtype=np.int64)
    places[order] = np.arange(found)
    return np.asarray(places[labels])
