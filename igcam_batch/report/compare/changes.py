"""changes: for each image × class that both runs have, what differs between them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from igcam_batch.attribution.upsample import upsample
from igcam_batch.names import METRIC_COLUMNS
from igcam_batch.report.agreement import rank_correlation, top_overlap
from igcam_batch.report.compare.join import Pairs
from igcam_batch.report.targets import labelled, predicted


def columns_of(scores: pa.Table, other: pa.Table) -> list[str]:
    """What is compared: `confidence`, `correct`, and the metrics that both runs have."""
    return ["confidence", "correct"] + [
        name for name in METRIC_COLUMNS if name in scores.column_names and name in other.column_names
    ]


def values_of(scores: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """(n, columns) float64 of a run's rows, NaN where there is no value.

    `correct` is 1 where the target is the dataset's label and was predicted, 0 where it is and was not.
    """
    return np.stack(
        [
            np.where(labelled(scores), predicted(scores), np.nan)
            if name == "correct"
            else scores[name].to_numpy(zero_copy_only=False).astype(np.float64)
            for name in columns
        ],
        axis=1,
    )


def agreement(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """(n,) rank correlation and (n,) overlap of the top pixels of each pair of maps, at the finer one's resolution."""
    one, other = (maps.astype(np.float32) for maps in pairs.maps)
    shape = (max(one.shape[1], other.shape[1]), max(one.shape[2], other.shape[2]))
    one, other = (
        maps if maps.shape[1:] == shape else upsample(torch.from_numpy(maps), shape).numpy() for maps in (one, other)
    )
    return rank_correlation(one, other), top_overlap(one, other)


def table_of(
    pairs: Pairs, columns: Sequence[str], values: Sequence[np.ndarray], alike: tuple[np.ndarray, np.ndarray]
) -> pa.Table:
    """The rows of changes.parquet: `NAME_a`, `NAME_b` and `NAME_change` (b less a) for each column."""
    scores = pairs.scores[0]
    found = {name: scores[name] for name in ("image_id", "target", "target_name")}
    for letter, side in zip("ab", pairs.scores, strict=True):
        found |= {f"{name}_{letter}": side[name] for name in ("predicted", "predicted_name")}
    for place, name in enumerate(columns):
        one, other = (side[:, place] for side in values)
        found |= {f"{name}_a": _nullable(one), f"{name}_b": _nullable(other), f"{name}_change": _nullable(other - one)}
    return pa.table(found | {"rank_correlation": _nullable(alike[0]), "top_overlap": _nullable(alike[1])})


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32), from_pandas=True)
