"""Tables for whoever reads standard output: as wide as their terminal at most, a line for each row."""

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

_WIDTH_OF_A_LOG = 100  # a file has no width of its own
_FEWEST_LETTERS = 6  # that are left of a name, with an ellipsis


def is_watched() -> bool:
    """Whether a person sees standard output as it is written."""
    return sys.stdout.isatty()


def show(table: Table) -> None:
    """Print a table, on a terminal one that fits it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _WIDTH_OF_A_LOG))
    fit(table, console)
    console.print(table)


def fit(table: Table, console: Console) -> None:
    """Make a table, of no box, no wider than the console.

    The last column goes if it may be wrapped and not even a word of it has room. Then what stands to the left in its
    column, which is names, is cut short. Numbers stay whole.
    """
    last = table.columns[-1]
    if not last.no_wrap and _least(table, console) > console.width:
        table.columns.remove(last)
    while (over := _least(table, console) - console.width) > 0:
        names = [column for column in table.columns if column.justify == "left"]
        longest = max(names, key=lambda column: _width(column, console), default=None)
        if longest is None or (now := _width(longest, console)) <= _FEWEST_LETTERS:
            return
        others = [_width(column, console) for column in names if column is not longest]
        longest.max_width = max(now - over, min(now - 1, max(others, default=0)), _FEWEST_LETTERS)


def _least(table: Table, console: Console) -> int:
    """How wide the table must be for no cell to be broken."""
    return sum(_width(column, console) for column in table.columns) + 2 * (len(table.columns) - 1)


def _width(column: Column, console: Console) -> int:
    measured = [Measurement.get(console, console.options, cell) for cell in (column.header, *column.cells)]
    widest = max((each.maximum if column.no_wrap else each.minimum) for each in measured)
    return min(widest, column.max_width or widest)
