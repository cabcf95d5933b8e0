"""What the terminal shows of scores: means with their intervals, and who is better."""

import io

import pyarrow as pa
from rich.console import Console

from igcam_batch.names import METHODS
from igcam_batch.report.scores import means_table
from igcam_batch.report.summary import SUMMARY


def shown(rows: list[dict]) -> list[str]:
    """The table's lines, in words."""
    nothing = dict.fromkeys(SUMMARY.names)
    table = pa.Table.from_pylist([nothing | {"kind": "mean", "images": 2} | row for row in rows], schema=SUMMARY)
    console = Console(file=io.StringIO(), width=200)
    console.print(means_table(table))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


HEADINGS = "metric method mean 95 % interval rows better than"


def test_means_stand_in_percent_with_their_interval_and_the_rows_that_had_a_value() -> None:
    ebpg = {"metric": "ebpg", "mean": 0.5, "low": 0.25, "high": 0.75, "rows": 7}
    assert shown([ebpg | {"method": "grad-cam"}, ebpg | {"method": "cam", "low": None, "high": None, "rows": 1}]) == [
        HEADINGS,
        "EBPG % grad-cam 50.0 25.0 to 75.0 7",
        "cam 50.0 - 1",
    ]


def test_a_metric_that_no_row_had_is_left_out_and_classes_are_not_shown() -> None:
    drop = {"method": "grad-cam", "metric": "drop", "mean": 0.5, "rows": 3}
    nothing = {"method": "grad-cam", "metric": "bbox", "mean": None, "rows": 0}
    of_class = drop | {"target": 3, "mean": 0.9}
    assert shown([drop, nothing, of_class]) == [HEADINGS, "Drop % grad-cam 50.0 - 3"]


def test_the_better_method_of_a_pair_names_the_other() -> None:
    means = [{"method": method, "metric": "drop", "mean": 0.5, "rows": 3} for method in ("a", "b", "c")]
    pairs = [
        {"kind": "difference", "method": "a", "other": other, "metric": "drop", "rows": 3, "better": better}
        for other, better in (("b", "b"), ("c", None))
    ]
    assert shown(means + pairs)[1:] == ["Drop % a 50.0 - 3", "b 50.0 - 3 a", "c 50.0 - 3"]


def test_eleven_methods_fit_a_terminal_of_eighty_columns() -> None:
    of = {"metric": "drop", "mean": 1.0, "low": 0.999, "high": 1.0, "rows": 100_000}
    table = pa.Table.from_pylist(
        [dict.fromkeys(SUMMARY.names) | {"kind": "mean", "images": 2, "method": method} | of for method in METHODS],
        schema=SUMMARY,
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(means_table(table))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 + len(METHODS)
    assert all("99.9 to 100.0  100000" in line for line in lines[1:])
