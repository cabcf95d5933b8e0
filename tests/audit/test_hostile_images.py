"""Audits of images that are damaged, or made to harm: each costs itself alone."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from drawings import picture
from mangled import mangled
from slow_jpeg import slow_jpeg

import igcam_batch
from igcam_batch.audit.job import Summary

pytestmark = pytest.mark.xdist_group("faults")

GOOD, MANGLED = 20, 300


def by_image(table: pa.Table) -> dict[str, dict]:
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert len(rows) == len(table), "an image came out twice"
    return rows


def write_good(directory: Path) -> set[str]:
    directory.mkdir()
    names = [f"{number * 16:03d}_good.png" for number in range(GOOD)]  # between the others
    for seed, name in enumerate(names):
        picture(seed).save(directory / name)
    return set(names)


def without_places(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "uri"}


def test_hundreds_of_mangled_files_leave_the_rows_of_the_good_ones_as_they_are(
    tmp_path: Path, audit: Callable[..., Summary]
) -> None:
    good = write_good(tmp_path / "alone")
    write_good(tmp_path / "mixed")
    names = set(good)
    for number, data in enumerate(mangled(5, MANGLED)):
        names.add(f"{number:03d}_mangled.png")
        (tmp_path / "mixed" / f"{number:03d}_mangled.png").write_bytes(data)
    alone = audit(tmp_path / "alone", tmp_path / "out_alone", steps=2, shard_size=GOOD, batch_size=1)
    mixed = audit(tmp_path / "mixed", tmp_path / "out_mixed", steps=2, shard_size=40, batch_size=1)
    scores, expected = (by_image(igcam_batch.read_scores(run.output)) for run in (mixed, alone))
    failures = by_image(igcam_batch.read_failures(mixed.output))
    assert mixed.status.planned == GOOD + MANGLED
    assert scores.keys() | failures.keys() == names
    assert not scores.keys() & failures.keys()
    assert {name: without_places(scores[name]) for name in good} == {
        name: without_places(row) for name, row in expected.items()
    }
    assert all(row["error"].isprintable() and row["stage"] == "decode" for row in failures.values())
    assert len(failures) > MANGLED // 2


def test_images_that_take_too_long_cost_themselves_alone(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    """Two in one shard, so that its task ends its process twice."""
    images = pictures("a.png", "c.png", "e.png", "f.png", "g.png")
    for name in ("b.jpg", "d.jpg"):
        (images / name).write_bytes(slow_jpeg(60_000))
    summary = audit(images, steps=2, shard_size=4, decode_timeout=1)
    failures = by_image(igcam_batch.read_failures(summary.output))
    assert failures.keys() == {"b.jpg", "d.jpg"}
    for row in failures.values():
        assert (row["stage"], row["error"]) == ("decode", "decoding took longer than --decode-timeout 1 s")
    assert by_image(igcam_batch.read_scores(summary.output)).keys() == {"a.png", "c.png", "e.png", "f.png", "g.png"}
    assert (summary.status.planned, summary.status.failed, summary.status.remaining) == (7, 2, 0)
