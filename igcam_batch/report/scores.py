"""The score table and its means for a terminal."""

from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from igcam_batch.names import PAPER_METRICS
from igcam_batch.report.summary import overall
from igcam_batch.tables import read_scores

_HEADINGS = {"ebpg": "EBPG %", "bbox": "Bbox %", "drop": "Drop %", "increase": "Incr. %"}


def score_table(output: str) -> Table:
    """Every row of the scores, by the paper's four metrics."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("image", "target", "method"):
        table.add_column(heading, no_wrap=True)
    for metric in PAPER_METRICS:
        table.add_column(_HEADINGS[metric], justify="right", no_wrap=True)
    previous = None
    for row in read_scores(output).to_pylist():
        again = (row["image_id"], row["target"]) == previous
        previous = (row["image_id"], row["target"])
        table.add_row(
            "" if again else escape(PurePosixPath(row["image_id"]).name),
            "" if again else f"{escape(row['target_name'] or str(row['target']))} {row['confidence']:.2f}",
            row["method"],
            *(_percent(row[metric]) for metric in PAPER_METRICS),
        )
    return table


def means_table(summary: pa.Table) -> Table:
    """Each method's means with their 95 % intervals, in percent, and the number of rows that had a value.

    Where the interval of a paired difference leaves no doubt, the better of two methods has an asterisk for each it is
    better than.
    """
    methods = overall(summary)
    metrics = [
        metric for metric in next(iter(methods.values()), {}) if any(of[metric]["rows"] for of in methods.values())
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mean (95 % interval; rows)", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)
    wins = [
        (row["better"], row["metric"])
        for row in summary.to_pylist()
        if row["kind"] == "difference" and row["better"] is not None
    ]
    for metric in metrics:
        cells = [_mean(of[metric]) + "*" * wins.count((method, metric)) for method, of in methods.items()]
        table.add_row(_HEADINGS.get(metric, f"{metric} %"), *cells)
    if wins:
        table.caption = "* better than another method, by the interval of the paired difference"
        table.caption_justify = "left"
    return table


def _mean(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{_percent(row['mean'])} ({row['rows']})"
    return f"{_percent(row['mean'])} ({_percent(row['low'])} to {_percent(row['high'])}; {row['rows']})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
