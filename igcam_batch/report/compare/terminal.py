"""A comparison for a terminal."""

from rich.table import Table

from igcam_batch.report.compare.compare import Compared
from igcam_batch.report.compare.runs import named

_ALIKE = ("rank_correlation", "top_overlap")


def heading(compared: Compared) -> str:
    """What is compared with what."""
    (a, b), matched = compared.sides, compared.matched
    return f"A {named(a, b)[0]}, B {named(a, b)[1]}: {matched.images} images in both, {matched.pairs} pairs"


def changes_table(compared: Compared) -> Table:
    """Means of both runs, and B less A with its 95 % interval."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mean", no_wrap=True)
    for heading in ("A %", "B %", "B less A (95 % interval)", "better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in compared.table.to_pylist():
        if not row["rows"]:
            continue
        if row["metric"] in _ALIKE:
            table.add_row(row["metric"].replace("_", " "), "", "", f"{row['change_mean']:.3f}", "")
            continue
        change = f"{100 * row['change_mean']:+.1f}"
        if row["change_low"] is not None:
            change += f" ({100 * row['change_low']:+.1f} to {100 * row['change_high']:+.1f})"
        means = (f"{100 * row[f'{side}_mean']:.1f}" for side in "ab")
        table.add_row(row["metric"].replace("_", " "), *means, change, row["better"] or "")
    return table
