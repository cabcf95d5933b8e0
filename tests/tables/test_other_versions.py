"""Runs of another version: each command says in one line what is missing, which version wrote it, and the way out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from written_runs import blob, score, write_run

from igcam_batch.audit.checks import existing_run
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.report.compare.compare import compare
from igcam_batch.report.export.export import FORMS, export
from igcam_batch.report.html.page import write_report
from igcam_batch.storage import open_store
from igcam_batch.tables import SCORES, iter_heatmaps, read_failures, read_scores
from igcam_batch.tables.compact import compact
from igcam_batch.tables.record import versions
from igcam_batch.tables.status import read_status

OURS = versions()["igcam-batch"]
_Reader = Callable[[str], object]


def run_of(output: Path, version: str = "0.0.1") -> str:
    """A run of another version, whose tables do not differ yet."""
    rows = [score(f"{number}.png") for number in range(3)]
    write_run(output, rows, np.stack([blob(3, 3)] * 3), failures={"bad.png": "broken"})
    record = json.loads((output / "run.json").read_text())
    record["versions"]["igcam-batch"] = version
    (output / "run.json").write_text(json.dumps(record))
    return str(output)


def without(output: str, directory: str, column: str) -> str:
    """The run without a column of one of its tables."""
    path = Path(output, directory, "part-000000.parquet")
    table, details = pq.read_table(path), pq.read_metadata(path).metadata
    del details[b"ARROW:schema"]
    pq.write_table(table.drop_columns([column]).replace_schema_metadata(details), path)
    return output


def _compare(output: str) -> object:
    other = str(Path(output).parent / "other")
    write_run(other, [score("0.png")], blob(3, 3)[None])
    return compare(output, other, str(Path(output).parent / "dir"))


def _exports(form: str) -> _Reader:
    return lambda output: export(output, str(Path(output).parent / "dir"), form)  # type: ignore[arg-type]


READERS: dict[str, _Reader] = {
    "report": write_report,
    "compare": _compare,
    "compact": compact,
    "read_scores": read_scores,
} | {form: _exports(form) for form in FORMS}


@pytest.mark.parametrize(
    ("reader", "column"),
    [*((reader, "confidence") for reader in READERS), *(("read_scores", column) for column in SCORES.names)],
)
def test_scores_that_lack_a_column_are_one_line(tmp_path: Path, reader: str, column: str) -> None:
    output = without(run_of(tmp_path / "out"), "scores", column)
    with pytest.raises(InputError) as caught:
        READERS[reader](output)
    assert str(caught.value) == (
        f"{output}/scores/part-000000.parquet: has no column {column}: written by igcam-batch 0.0.1, and this is "
        f"{OURS}; audit anew into another OUTPUT"
    )
    assert not (tmp_path / "dir").exists()


@pytest.mark.parametrize(
    ("directory", "column", "reader"),
    [
        ("heatmaps", "target", "report"),
        ("heatmaps", "heatmap", "overlay"),
        ("heatmaps", "method", "iter_heatmaps"),
        ("failures", "stage", "report"),
        ("failures", "error", "read_failures"),
    ],
)
def test_so_are_heatmaps_and_failures(tmp_path: Path, directory: str, column: str, reader: str) -> None:
    others: dict[str, _Reader] = {"iter_heatmaps": lambda of: list(iter_heatmaps(of)), "read_failures": read_failures}
    output = without(run_of(tmp_path / "out"), directory, column)
    with pytest.raises(InputError, match=rf"{directory}/part-000000\.parquet: has no column {column}: written by"):
        (READERS | others)[reader](output)


def test_what_carries_no_version_is_said_to_be_of_another(tmp_path: Path) -> None:
    output = without(run_of(tmp_path / "out", OURS), "scores", "drop")
    with pytest.raises(InputError, match=f"has no column drop: not written by this igcam-batch, {OURS}; audit anew"):
        read_scores(output)


@pytest.mark.parametrize("reader", [*READERS, "status"])
def test_a_record_that_is_not_ours_is_a_line_that_fits_who_only_reads(tmp_path: Path, reader: str) -> None:
    output = run_of(tmp_path / "out")
    record = json.loads(Path(output, "run.json").read_text())
    Path(output, "run.json").write_text(json.dumps(record | {"plan": None}))
    if reader == "read_scores":  # which has no use for it
        assert len(read_scores(output)) == 3
        return
    with pytest.raises(InputError) as caught:
        (READERS | {"status": read_status})[reader](output)
    line = f"{output}/run.json: written by igcam-batch 0.0.1, and this is {OURS}; audit anew into another OUTPUT"
    assert str(caught.value) == line


def test_an_audit_is_told_what_an_audit_can_do(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    config = AuditConfig(input="images", output=str(tmp_path), model="torchvision:resnet50")
    with pytest.raises(InputError, match=r"run\.json: not .*; name another directory, or --overwrite this one$"):
        existing_run(config, open_store(str(tmp_path)))
