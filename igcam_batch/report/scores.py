"""The score table for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from igcam_batch.names import METRICS
from igcam_batch.tables import read_scores

_HEADINGS = {"ebpg": "EBPG %", "bbox": "Bbox %", "drop": "Drop %", "increase": "Incr. %"}


def score_table(output: str) -> Table:
    """Every row of the scores, and under them each method's means with the number of rows that had a value."""
    scores = read_scores(output)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("image", "target", "method"):
        table.add_column(heading, no_wrap=True)
    for metric in METRICS:
        table.add_column(_HEADINGS[metric], justify="right", no_wrap=True)
    previous = None
    for row in scores.to_pylist():
        again = (row["image_id"], row["target"]) == previous
        previous = (row["image_id"], row["target"])
        table.add_row(
            "" if again else PurePosixPath(row["image_id"]).name,
            "" if again else f"{row['target_name'] or row['target']} {row['confidence']:.2f}",
            row["method"],
            *(_percent(row[metric]) for metric in METRICS),
        )
    table.add_section()
    for method, means in method_means(scores).items():
        table.add_row("mean (of rows)", "", method, *(f"{_percent(mean)} ({count})" for mean, count in means.values()))
    return table


def method_means(
    scores: pa.Table, metrics: Sequence[str] = METRICS
) -> Mapping[str, Mapping[str, tuple[float | None, int]]]:
    """Method -> metric -> (mean over the rows that have a value, or None; how many those are), in the order of rows."""
    means = {}
    for method in dict.fromkeys(scores["method"].to_pylist()):
        rows = scores.filter(pc.equal(scores["method"], method))
        means[method] = {metric: (pc.mean(rows[metric]).as_py(), pc.count(rows[metric]).as_py()) for metric in metrics}
    return means


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
