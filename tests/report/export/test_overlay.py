"""Overlays: a picture for each image × target × method."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import BOXES, as_parquet, as_voc
from finished_runs import finished_run
from PIL import Image

import igcam_batch
from igcam_batch.report.export.export import export
from igcam_batch.report.export.overlay import overlay
from igcam_batch.report.originals import Original, Originals
from igcam_batch.sources import Box


def test_there_is_one_for_each_row_and_the_index_says_which(voc_run: str, tmp_path: Path) -> None:
    written = export(voc_run, str(tmp_path / "out"), "overlay")
    assert (written.rows, written.images, written.gone) == (8, 3, 0)
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    expected = igcam_batch.read_scores(voc_run, ["image_id", "target", "target_name", "method"]).to_pylist()
    assert [{name: row[name] for name in row if name != "file"} for row in index] == expected
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.jpg")}
    assert files == {row["file"] for row in index}
    for name in files:
        with Image.open(tmp_path / "out" / name) as image:
            assert (image.format, image.size) == ("JPEG", (32, 32))


def test_size_method_limit_and_colours_are_taken(voc_run: str, tmp_path: Path) -> None:
    options = {"methods": ["grad-cam"], "limit": 2, "size": 100, "colours": "turbo"}
    assert export(voc_run, str(tmp_path / "out"), "overlay", **options).rows == 2
    found = list((tmp_path / "out").rglob("*.jpg"))
    assert [Image.open(path).size for path in found] == [(100, 100)] * 2
    assert {path.parts[-3] for path in found} == {"grad-cam"}


def test_the_map_lies_where_it_belongs_over_the_image_half_and_half() -> None:
    grey = np.full((64, 64, 3), 100, dtype=np.uint8)
    heat = np.zeros((8, 8))
    heat[1, 6] = 2.0  # above, on the right
    shown = np.asarray(overlay(Original(grey, (), 64, 64), heat, 64)).astype(int)
    low, high = igcam_batch.colour_heatmaps(np.array([[0.0, 1.0]]))[0].astype(int)
    np.testing.assert_allclose(shown[60, 4], (100 + low) / 2, atol=1)
    brightest = np.unravel_index(shown.sum(-1).argmax(), (64, 64))
    assert 8 <= brightest[0] < 16
    assert 48 <= brightest[1] < 56
    assert (np.abs(shown[brightest] - (100 + high) / 2) < 25).all()


def test_boxes_are_drawn_where_they_are() -> None:
    box = Box("cat", 16, 8, 48, 40)
    gone = Box("dog", 64, 0, 64, 64)  # cropped away
    shown = np.asarray(overlay(Original(np.zeros((64, 64, 3), np.uint8), (box, gone), 64, 64), np.zeros((4, 4)), 128))
    white = np.argwhere((shown == 255).all(-1))
    assert white.min(0).tolist() == [16, 32]
    assert white.max(0).tolist() == [79, 95]


def test_images_that_are_gone_are_counted_and_cost_themselves_alone(tmp_path: Path) -> None:
    directory = as_voc(tmp_path / "data") / "VOCdevkit" / "VOC2007" / "JPEGImages"
    output = finished_run(tmp_path / "data", tmp_path / "run")
    (directory / "2.png").unlink()
    written = export(output, str(tmp_path / "out"), "overlay")
    assert (written.rows, written.images, written.gone) == (6, 2, 1)
    line = written.line("out")
    assert line.startswith("overlay: 6 rows of 2 images in out; 1 image could not be had and left out, the first ")
    assert line.endswith("2.png: vanished since the audit was planned")


def test_images_in_larger_files_are_shown_too(tmp_path: Path) -> None:
    output = finished_run(as_parquet(tmp_path / "data"), tmp_path / "run")
    assert export(output, str(tmp_path / "out"), "overlay").rows == 8


def test_of_a_run_s_images_the_boxes_are_the_dataset_s(voc_run: str) -> None:
    [(_, original)] = Originals(voc_run).load(list(Originals(voc_run).first(1).values()))
    assert isinstance(original, Original)
    left, top, right, bottom = BOXES[0]
    assert original.boxes == (Box("cat", left / 3, top / 2.5, pytest.approx(right / 3), bottom / 2.5),)
