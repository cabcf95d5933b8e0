"""Which rows of the scores are of the dataset's own label, and so can be right or wrong."""

import numpy as np
import pyarrow as pa

LABELLED = ("label", "predicted+label")
"""Values of `target_source` where the target is the dataset's label."""


def labelled(scores: pa.Table) -> np.ndarray:
    """(n,) bool, of rows of the scores."""
    return np.isin(scores["target_source"].to_numpy(zero_copy_only=False), LABELLED)


def predicted(scores: pa.Table) -> np.ndarray:
    """(n,) bool: whether the target is what the model predicts."""
    found: np.ndarray = scores["predicted"].to_numpy() == scores["target"].to_numpy()
    return found
