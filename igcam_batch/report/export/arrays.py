"""Maps and their scores for NumPy: .npz files that load without pickle."""

import io

import numpy as np
import torch

from igcam_batch.attribution.upsample import upsample
from igcam_batch.names import METRICS, metric_column
from igcam_batch.report.export.rows import Run
from igcam_batch.report.export.written import Written
from igcam_batch.storage import Store

_BYTES = 64 << 20  # of maps in a file
_NUMBERS = ("score", "confidence", "masked_confidence", *map(metric_column, METRICS))


def write_arrays(run: Run, to: Store, *, size: int | None = None) -> Written:
    """Write maps/part-000000.npz and on, each with the rows of a shard, or of a part of one, in the order of the run.

    The arrays of a file have one entry for each of its n rows: `heatmaps` (n, u, v) as stored, not normalised;
    `image_id`, `method` (n,) of str; `target`, `predicted` (n,) int32; and `score`, `confidence`, `masked_confidence`
    and each metric of the run, (n,) float32, NaN where there is none.

    Args:
        run: the rows.
        to: where to.
        size: side to upsample the maps to, bilinearly, as float32; None: as stored.
    """
    written, number = Written("numpy"), 0
    for rows in run.rows():
        columns = {name: np.asarray(rows.scores[name].to_pylist(), dtype=str) for name in ("image_id", "method")}
        columns |= {name: rows.scores[name].to_numpy() for name in ("target", "predicted")}
        columns |= {name: rows.scores[name].to_numpy() for name in _NUMBERS if name in rows.scores.column_names}
        of_map = rows.maps[0].nbytes if size is None else 4 * size * size
        step = max(1, _BYTES // of_map)
        for start in range(0, len(rows.maps), step):
            some = slice(start, start + step)
            maps = rows.maps[some]
            if size is not None:
                maps = upsample(torch.from_numpy(maps.astype(np.float32)), (size, size)).numpy()
            file = io.BytesIO()
            arrays = {"heatmaps": maps} | {name: column[some] for name, column in columns.items()}
            np.savez_compressed(file, allow_pickle=False, **arrays)
            to.write(f"maps/part-{number:06d}.npz", file.getvalue())
            number += 1
        written.rows += len(rows.maps)
        written.images += len(set(columns["image_id"].tolist()))
    return written
