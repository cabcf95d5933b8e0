"""Names that would lead out of OUTPUT, or that a terminal or a page would obey: they are text in a table."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import picture

import igcam_batch
from igcam_batch.audit.job import Summary
from igcam_batch.report.scores import score_table
from igcam_batch.report.sheet import write_sheet
from igcam_batch.report.summary import write_summary
from igcam_batch.sources import Notes

pytestmark = pytest.mark.xdist_group("faults")

NAMES = (
    "../../../escaped.png",
    "/tmp/igcam-escaped.png",
    "..",
    "a/../../b",
    "<script>alert(1)</script>",
    "[red]markup[/] [/nothing]",
    r"$\frac{$",
    "\x1b[2Jcleared",
    "two\nlines",
    "s3://bucket/escaped",
    "x" * 5000,
    "=cmd|'/c calc'!A1",
)


def test_ids_uris_labels_and_columns_of_a_manifest_are_text_and_no_path_of_a_file(
    tmp_path: Path, audit: Callable[..., Summary]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    picture(1).save(images / "a.png")
    with (images / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "image_id", "label", "note"])
        rows.writerows(["a.png", name, name, name] for name in NAMES)
        rows.writerow(["../nothing\x1b.png", "../missing", "x", "x"])
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    output = Path(audit(images, tmp_path / "a" / "oü 漢 100%", steps=2).output)
    write_summary(str(output))
    write_sheet(str(output), output / "sheet.png")
    assert score_table(str(output)).row_count == len(NAMES)
    scores = igcam_batch.read_scores(str(output)).to_pylist()
    assert sorted((row["image_id"], row["label"], row["note"]) for row in scores) == sorted((n, n, n) for n in NAMES)
    assert [row["image_id"] for row in igcam_batch.read_failures(str(output)).to_pylist()] == ["../missing"]
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after > before
    assert all(path.is_relative_to(output) for path in after - before)
    assert not Path("/tmp/igcam-escaped.png").exists()
    written = [str(path.relative_to(output)) for path in after - before]
    assert not [path for path in written for name in ("script", "escaped", "xxx", "cmd") if name in path]


def test_a_note_does_not_move_the_cursor() -> None:
    notes = Notes()
    notes.add("boxes", "a\x1b[2J\nb\u202e")
    assert notes.lines() == ["boxes: 1; the first: a [2J b "]
