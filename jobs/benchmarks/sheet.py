"""Tables for a terminal or for a page, what a machine is, and figures in a file."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.subjects import DEVICE

console = Console(width=160, highlight=False)


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> None:
    """Print a table; its first column to the left, numbers to the right."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in (headers, *rows)]
        lines.insert(1, "|---" + "|---:" * (len(headers) - 1) + "|")
        print("", f"**{title}**", "", *lines, sep="\n")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    console.print(table, "", sep="\n")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def said(measured_on: Mapping[str, object]) -> str:
    """The machine in a line."""
    return f"{measured_on['device']}, {measured_on['threads']} threads, torch {measured_on['torch']}"


def write_json(file: str | None, figures: object) -> None:
    """Put the figures into a file, if one is named."""
    if file:
        Path(file).write_text(json.dumps(figures, indent=2) + "\n")
