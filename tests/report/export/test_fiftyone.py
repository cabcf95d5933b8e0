"""FiftyOne's own form, held to what its importer takes: every value has a declared field, every path leads to a file.

What is written here was opened by FiftyOne itself; it needs a MongoDB, which tests do not.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import BOXES, LABELS, NAMES, as_parquet
from factories import CLASSES
from finished_runs import finished_run
from PIL import Image

import igcam_batch
from igcam_batch.attribution.upsample import upsample
from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.report.export.export import export
from igcam_batch.report.export.fiftyone import in_original

KINDS = {
    "StringField": str,
    "FloatField": (float, int),
    "IntField": int,
    "ListField": list,
    "ObjectIdField": dict,
    "HeatmapRangeField": list,
    "EmbeddedDocumentField": dict,
}


def exported(output: str, directory: Path, **options: Any) -> tuple[list[dict], dict]:
    export(output, str(directory), "fiftyone", **options)
    return (
        json.loads((directory / "samples.json").read_text())["samples"],
        json.loads((directory / "metadata.json").read_text()),
    )


def check_declared(document: dict, fields: list[dict], within: str = "") -> None:
    declared = {field["db_field"]: field for field in fields}
    for name, value in document.items():
        if name in ("_cls", "attributes") or value is None:
            continue
        field = declared[name]
        kind = field["ftype"].rpartition(".")[2]
        assert isinstance(value, KINDS[kind]), f"{within}{name}"
        for inner in value if kind == "ListField" and field["fields"] else [value] if field["fields"] else []:
            assert inner.get("_cls", "ImageMetadata") == field["embedded_doc_type"].rpartition(".")[2]
            check_declared(inner, field["fields"], f"{within}{name}.")


def test_every_value_has_a_field_of_its_kind(voc_run: str, tmp_path: Path) -> None:
    samples, metadata = exported(voc_run, tmp_path / "out")
    assert (metadata["media_type"], metadata["version"]) == ("image", "1.0.0")
    for sample in samples:
        check_declared(sample, metadata["sample_fields"])
    ids = [sample["_id"]["$oid"] for sample in samples]
    assert len(set(ids)) == len(ids) == 3
    assert all(len(bytes.fromhex(each)) == 12 for each in ids)


def test_samples_are_the_images_with_prediction_boxes_and_scores(voc_run: str, tmp_path: Path) -> None:
    samples, _ = exported(voc_run, tmp_path / "out")
    scores = igcam_batch.read_scores(voc_run).to_pylist()
    for name, labels, box, sample in zip(NAMES, LABELS, BOXES, samples, strict=True):
        rows = [row for row in scores if row["image_id"] == sample["image_id"]]
        assert sample["filepath"] == rows[0]["uri"]
        assert sample["filepath"].endswith(name)
        assert sample["prediction"]["label"] == CLASSES[rows[0]["predicted"]]
        known = [row["confidence"] for row in rows if row["target"] == row["predicted"]]
        assert sample["prediction"]["confidence"] == (known[0] if known else None)
        detections = sample["ground_truth"]["detections"]
        assert tuple(each["label"] for each in detections) == labels
        left, top, right, bottom = box
        expected = [left / 96, top / 80, (right - left) / 96, (bottom - top) / 80]
        assert detections[0]["bounding_box"] == pytest.approx(expected)
        heatmaps = {field: value for field, value in sample.items() if str(value).find("'Heatmap'") > 0}
        assert len(heatmaps) == len(rows)
        for row in rows:
            [found] = [
                value
                for value in heatmaps.values()
                if (value["method"], value["target"]) == (row["method"], row["target"])
            ]
            assert found["label"] == row["target_name"]
            for metric in ("confidence", "drop", "increase", "ebpg", "bbox"):
                assert found[metric] == row[metric]
    assert set(heatmaps) == {"grad_cam", "integrated_grad_cam", "grad_cam_2", "integrated_grad_cam_2"}


def test_heatmaps_are_pngs_of_the_image_s_shape(voc_run: str, tmp_path: Path) -> None:
    samples, _ = exported(voc_run, tmp_path / "out", methods=["integrated-grad-cam"], limit=1)
    [sample] = samples
    heatmap = sample["integrated_grad_cam"]
    with Image.open(tmp_path / "out" / heatmap["map_path"]) as image:
        shown = np.asarray(image)
    assert shown.shape == (27, 32)  # 80 x 96 pixels, 32 at the longer side
    assert (shown.dtype, shown.max(), heatmap["range"]) == (np.uint8, 255, [0, 255])
    map_ = igcam_batch.read_heatmaps(voc_run, methods=["integrated-grad-cam"])["heatmap"][0].as_py()
    assert heatmap["maximum"] == max(map_)


def test_images_within_larger_files_are_copied_as_they_are(tmp_path: Path) -> None:
    output = finished_run(as_parquet(tmp_path / "data"), tmp_path / "run")
    samples, _ = exported(output, tmp_path / "out")
    for sample in samples:
        with Image.open(tmp_path / "out" / sample["filepath"]) as image:
            assert (image.format, image.size) == ("PNG", (96, 80))
        assert sample["filepath"].endswith(".png")
        assert "ground_truth" not in sample


def test_images_within_larger_files_that_are_all_gone_are_no_export(tmp_path: Path) -> None:
    output = finished_run(as_parquet(tmp_path / "data"), tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"nothing to export: 3 images could not be had, the first train-00000.parquet#0: "
    ):
        export(output, str(tmp_path / "out"), "fiftyone")
    assert not (tmp_path / "out").exists()


class TestMapsOverTheWholeImage:
    heat = np.random.default_rng(0).random((7, 5)).astype(np.float32)

    def test_where_nothing_is_cropped_they_are_the_upsampled_maps(self) -> None:
        expected = upsample(torch.from_numpy(self.heat), (64, 64)).numpy()
        np.testing.assert_allclose(in_original(self.heat, Recipe(size=64), (64, 64)), expected, rtol=1e-5)

    def test_what_was_cropped_away_is_zero_and_the_rest_in_its_place(self) -> None:
        recipe = Recipe(size=64, resize="crop", resize_size=64)
        laid = in_original(self.heat, recipe, (64, 32))  # becomes 128 x 64, of which the middle 64 are kept
        assert laid.shape == (32, 64)
        assert not laid[:, :16].any()
        assert not laid[:, 48:].any()
        large = upsample(torch.from_numpy(self.heat), (64, 64)).numpy()
        expected = large.reshape(32, 2, 32, 2).mean((1, 3))
        np.testing.assert_allclose(laid[:, 16:48], expected, atol=0.06)  # bends within a pixel

    def test_a_map_of_a_single_cell_is_flat(self) -> None:
        np.testing.assert_allclose(in_original(np.ones((1, 1)), Recipe(size=8), (20, 10)), np.ones((4, 8)), rtol=1e-6)
