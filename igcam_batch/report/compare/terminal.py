"""A comparison for a terminal."""

from rich.table import Table

from igcam_batch.report.compare.compare import Compared
from igcam_batch.report.compare.runs import named
from igcam_batch.report.wording import WORDINGS
from igcam_batch.words import amount_in_words

_AGREEMENT = {"rank_correlation": "rank correlation", "top_overlap": "overlap of the top pixels"}
_NAMES = {"confidence": "Confidence", "correct": "Accuracy"}


def heading(compared: Compared) -> str:
    """What is compared with what."""
    (a, b), matched = compared.sides, compared.matched
    images, pairs = amount_in_words(matched.images, "image"), amount_in_words(matched.pairs, "pair")
    return f"A {named(a, b)[0]}, B {named(a, b)[1]}: {images} in both, {pairs}"


def changes_table(compared: Compared) -> Table:
    """Means of both runs, and B less A with its 95 % interval."""
    table = _table("mean", "A %", "B %", "B less A (95 % interval)", "better")
    for row in compared.table.to_pylist():
        if not row["rows"] or row["metric"] in _AGREEMENT:
            continue
        change = f"{100 * row['change_mean']:+.1f}"
        if row["change_low"] is not None:
            change += f" ({100 * row['change_low']:+.1f} to {100 * row['change_high']:+.1f})"
        means = (f"{100 * row[f'{side}_mean']:.1f}" for side in "ab")
        table.add_row(_name(row["metric"]), *means, change, row["better"] or "")
    return table


def agreement_table(compared: Compared) -> Table:
    """How alike the two maps of a pair are, with 95 % intervals."""
    table = _table("agreement of maps", "mean", "95 % interval", "pairs")
    for row in compared.table.to_pylist():
        if row["rows"] and row["metric"] in _AGREEMENT:
            interval = "" if row["change_low"] is None else f"{row['change_low']:.3f} to {row['change_high']:.3f}"
            table.add_row(_AGREEMENT[row["metric"]], f"{row['change_mean']:.3f}", interval, f"{row['rows']:,}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _name(metric: str) -> str:
    return WORDINGS[metric].short if metric in WORDINGS else _NAMES[metric]
