"""The score table and its means for a terminal."""

from pathlib import PurePosixPath

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from igcam_batch.names import PAPER_METRICS
from igcam_batch.report.summary import overall
from igcam_batch.report.wording import WORDINGS
from igcam_batch.tables import read_scores

_HEADINGS = {"ebpg": "EBPG %", "bbox": "Bbox %", "drop": "Drop %", "increase": "Incr. %"}  # as narrow as numbers


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
    """Each metric's mean by method, with its 95 % interval, in percent, and the number of rows that had a value.

    `better than` are the methods that it is better than without doubt, by the interval of the paired difference.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metric", "method"):
        table.add_column(heading, no_wrap=True)
    for heading in ("mean", "95 % interval", "rows"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("better than")
    wins = _wins(summary)
    methods = overall(summary)
    for metric in next(iter(methods.values()), {}):
        if not any(of[metric]["rows"] for of in methods.values()):
            continue
        heading = f"{WORDINGS[metric].short} %"
        for method, of in methods.items():
            row = of[metric]
            interval = "-" if row["low"] is None else f"{_percent(row['low'])} to {_percent(row['high'])}"
            beaten = ", ".join(wins.get((method, metric), ()))
            table.add_row(heading, method, _percent(row["mean"]), interval, str(row["rows"]), beaten)
            heading = ""
    return table


def _wins(summary: pa.Table) -> dict[tuple[str, str], list[str]]:
    """By method and metric, the methods that it is better than."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in summary.to_pylist():
        if row["kind"] == "difference" and row["better"] is not None:
            other = row["other"] if row["better"] == row["method"] else row["method"]
            found.setdefault((row["better"], row["metric"]), []).append(other)
    return found


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
