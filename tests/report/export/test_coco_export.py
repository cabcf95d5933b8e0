"""COCO's form, read by COCO's own tools."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import BOXES, as_coco, as_manifest
from factories import CLASSES
from finished_runs import METHODS, finished_run
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import igcam_batch
from igcam_batch.report.export.coco import box_in_original
from igcam_batch.report.export.export import export
from igcam_batch.report.originals import Originals


def rows_of(output: str) -> list[tuple[dict, np.ndarray]]:
    """Each row of the scores with its map."""
    maps = igcam_batch.read_heatmaps(output)["heatmap"].combine_chunks().to_numpy_ndarray()
    return list(zip(igcam_batch.read_scores(output).to_pylist(), maps, strict=True))


def test_pycocotools_loads_boxes_and_evaluates_results_against_the_dataset_s_boxes(
    voc_run: str, tmp_path: Path
) -> None:
    export(voc_run, str(tmp_path / "out"), "coco")
    truth = COCO(str(tmp_path / "out" / "boxes" / "ground_truth.json"))
    assert sorted(tuple(each["bbox"]) for each in truth.loadAnns(truth.getAnnIds())) == sorted(
        (left, top, right - left, bottom - top)
        for (left, top, right, bottom), count in zip(BOXES, (1, 1, 2), strict=True)
        for _ in range(count)
    )
    shown = [row for row, heat in rows_of(voc_run) if heat.any()]
    for method in METHODS:
        boxes = COCO(str(tmp_path / "out" / "boxes" / f"{method}.json"))
        assert len(boxes.getImgIds()) == 3
        results = truth.loadRes(str(tmp_path / "out" / "boxes" / f"{method}.results.json"))
        of_method = [row for row in shown if row["method"] == method]
        assert len(results.getAnnIds()) == len(boxes.getAnnIds()) == len(of_method) > 0
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert np.isfinite(evaluation.stats).all()
        assert evaluation.stats[0] >= -1


def test_the_dataset_s_own_boxes_as_results_are_perfect(voc_run: str, tmp_path: Path) -> None:
    export(voc_run, str(tmp_path / "out"), "coco")
    truth = COCO(str(tmp_path / "out" / "boxes" / "ground_truth.json"))
    results = [
        {name: each[name] for name in ("image_id", "category_id", "bbox")} | {"score": 1.0}
        for each in truth.dataset["annotations"]
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_categories_are_the_model_s_classes_and_scores_its_confidence(voc_run: str, tmp_path: Path) -> None:
    export(voc_run, str(tmp_path / "out"), "coco", methods=["grad-cam"])
    dataset = COCO(str(tmp_path / "out" / "boxes" / "grad-cam.json"))
    names = {each["id"]: each["name"] for each in dataset.dataset["categories"]}
    assert names == {index: CLASSES[index] for index in names}
    assert {2, 3, 4} <= set(names)
    rows = [(row, heat) for row, heat in rows_of(voc_run) if row["method"] == "grad-cam" and heat.any()]
    for annotation, (row, heat) in zip(dataset.dataset["annotations"], rows, strict=True):
        image = dataset.imgs[annotation["image_id"]]
        assert image["file_name"] == row["image_id"]
        assert annotation["category_id"] == row["target"]
        assert annotation["score"] == row["confidence"]
        left, top, right, bottom = box_in_original(heat, Originals(voc_run).recipe, (96, 80), 0.2)
        assert annotation["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=1e-3)
        assert 0 <= left < right <= image["width"] == 96
        assert 0 <= top < bottom <= image["height"] == 80


def test_labels_meet_the_classes_that_the_audit_took_them_for(tmp_path: Path) -> None:
    images = as_manifest(tmp_path / "data")
    manifest = images / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"cat"', '"Katze"').replace('"eel"', '"Aal"'))
    class_map = {"Katze": "cat", "Aal": 4}
    output = finished_run(images, tmp_path / "run", class_map=class_map)
    export(output, str(tmp_path / "out"), "coco")
    truth = json.loads((tmp_path / "out" / "boxes" / "ground_truth.json").read_text())
    assert [each["category_id"] for each in truth["annotations"]] == [2, 3, 2, 4]


def test_a_label_that_is_no_class_of_the_model_has_an_id_of_its_own(tmp_path: Path) -> None:
    images = as_coco(tmp_path / "data")
    file = images / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace('"eel"', '"unicorn"'))
    output = finished_run(images, tmp_path / "run", target="predicted")
    export(output, str(tmp_path / "out"), "coco")
    truth = json.loads((tmp_path / "out" / "boxes" / "ground_truth.json").read_text())
    names = {each["id"]: each["name"] for each in truth["categories"]}
    assert [names[each["category_id"]] for each in truth["annotations"]][-1] == "unicorn"
    assert len(set(names.values())) == len(names)
    assert all(index >= len(CLASSES) for index, name in names.items() if name == "unicorn")


def test_a_threshold_makes_boxes_smaller_and_is_noted(voc_run: str, tmp_path: Path) -> None:
    areas = {}
    for threshold in (0.2, 0.8):
        export(voc_run, str(tmp_path / f"{threshold}"), "coco", threshold=threshold)
        dataset = json.loads((tmp_path / f"{threshold}" / "boxes" / "grad-cam.json").read_text())
        assert dataset["info"]["threshold"] == threshold
        areas[threshold] = sum(each["area"] for each in dataset["annotations"])
    assert areas[0.8] < areas[0.2]


def test_without_boxes_there_is_no_ground_truth(pictures, tmp_path: Path) -> None:
    output = finished_run(pictures("a.png", "b.png"), tmp_path / "run", target="predicted")
    export(output, str(tmp_path / "out"), "coco")
    assert {path.name for path in (tmp_path / "out" / "boxes").iterdir()} == {
        f"{method}{end}" for method in METHODS for end in (".json", ".results.json")
    }
