"""The same pictures in every layout: the same scores, and what is odd about a dataset."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import LAYOUTS, as_coco, as_manifest, as_voc

import igcam_batch
from igcam_batch import InputError
from igcam_batch.audit.job import Summary
from igcam_batch.report.summary import read_summary, write_summary


def scores(output: str) -> list[dict]:
    """What is said of each picture and class, in their order, whatever the layout calls them."""
    names = ("label", "target_name", "target_source", "confidence", "drop", "increase", "ebpg", "bbox")
    return [{name: row[name] for name in names} for row in igcam_batch.read_scores(output).to_pylist()]


@pytest.fixture
def expected(audit: Callable[..., Summary], tmp_path: Path) -> list[dict]:
    """By Ray."""
    return scores(audit(as_voc(tmp_path / "expected"), tmp_path / "expected-out", target="labels").output)


@pytest.mark.xdist_group("ray")
def test_every_layout_gives_the_same_scores(
    audit_here: Callable[..., Summary], tmp_path: Path, expected: list[dict]
) -> None:
    assert [row["label"] for row in expected] == ["cat", "dog", "cat, eel", "cat, eel"]
    assert all(row["ebpg"] is not None for row in expected)
    for layout, write in LAYOUTS.items():
        summary = audit_here(write(tmp_path / layout), tmp_path / f"{layout}-out", target="labels")
        found = scores(summary.output)
        without_boxes = [row | {"ebpg": None, "bbox": None} for row in expected]
        assert found == (without_boxes if layout == "parquet" else expected), layout
        assert json.loads((Path(summary.output) / "run.json").read_text())["layout"] == layout


def test_columns_of_a_manifest_are_carried_to_the_scores_under_names_of_their_own(
    audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    output = audit_here(as_manifest(tmp_path / "data"), target="labels").output
    table = igcam_batch.read_scores(output)
    assert table["camera"].to_pylist() == ["c0", "c1", "c2", "c2"]
    assert table["manifest_drop"].to_pylist() == [0, 0.5, 1, 1]
    assert table["drop"].to_pylist() != table["manifest_drop"].to_pylist()


def test_outlines_count_where_they_are_asked_for(audit_here: Callable[..., Summary], tmp_path: Path) -> None:
    """The outlines of the COCO set are its boxes, so that both must give the same; VOC has none there."""
    of_boxes = scores(audit_here(as_coco(tmp_path / "coco"), tmp_path / "boxes", target="labels").output)
    of_masks = scores(audit_here(tmp_path / "coco", tmp_path / "masks", target="labels", objects="masks").output)
    for one, other in zip(of_boxes, of_masks, strict=True):
        assert other["ebpg"] == pytest.approx(one["ebpg"], abs=0.05)
        assert other["drop"] == one["drop"]
    nothing = scores(audit_here(as_voc(tmp_path / "voc"), tmp_path / "none", target="labels", objects="masks").output)
    assert [row["ebpg"] for row in nothing] == [None] * 4


def test_all_metrics_at_once_are_columns_and_in_the_summary(audit_here: Callable[..., Summary], tmp_path: Path) -> None:
    output = audit_here(
        as_coco(tmp_path / "data"),
        target="predicted+label",
        method=["grad-cam", "integrated-grad-cam"],
        metric="all",
        curve_steps=6,
        shift=3,
    ).output
    table = igcam_batch.read_scores(output)
    assert set(table["target_source"].to_pylist()) <= {"predicted", "label", "predicted+label"}
    for name in ("pointing_game", "insertion", "deletion", "average_gain", "sparsity", "sensitivity"):
        assert table[name].null_count < len(table), name
        values = np.array([value for value in table[name].to_pylist() if value is not None])
        assert (values >= 0).all(), name
        assert name == "sensitivity" or (values <= 1).all(), name
    write_summary(output)
    means = read_summary(output).to_pylist()
    assert {row["metric"] for row in means} >= {"sensitivity", "insertion", "ebpg"}


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("broken.xml", "<annotation><object>", "not well-formed, harmless XML"),
        ("bomb.xml", '<!DOCTYPE x [<!ENTITY e "e">]><annotation/>', "DTD"),
    ],
)
def test_a_broken_annotation_costs_its_image_alone(
    audit_here: Callable[..., Summary], tmp_path: Path, name: str, written: str, said: str
) -> None:
    root = as_voc(tmp_path / "data")
    (root / "VOCdevkit" / "VOC2007" / "Annotations" / "2.xml").write_text(written)
    summary = audit_here(root, target="labels")
    assert (summary.status.scored, summary.status.failed) == (2, 1)
    [failure] = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["stage"], failure["image_id"]) == ("annotation", "VOCdevkit/VOC2007/JPEGImages/2.png")
    assert said in failure["error"]
    assert "Annotations/2.xml: " in failure["error"]


def test_what_is_odd_about_a_dataset_is_told_once_and_recorded(
    audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    root = as_coco(tmp_path / "data")
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 9]
    file.write_text(json.dumps(content))
    output = audit_here(root, target="labels").output
    [note] = json.loads((Path(output) / "run.json").read_text())["notes"]
    assert note.startswith("boxes have no area in their image and are left out: 1; the first: ")
    assert igcam_batch.read_scores(output)["ebpg"].to_pylist()[0] is None


def test_labels_that_are_no_class_are_refused_with_an_image_until_they_are_left_out(
    audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    root = as_manifest(tmp_path / "data")
    file = root / "manifest.jsonl"
    file.write_text(file.read_text().replace('"dog"', '"unicorn"'))
    with pytest.raises(InputError, match=r"1 of 3 labels are no class of .*\(unicorn of pictures/2.png\); --class-map"):
        audit_here(root, target="labels")
    (tmp_path / "map.yaml").write_text("unicorn: null\n")
    summary = audit_here(root, target="labels", class_map=str(tmp_path / "map.yaml"))
    assert (summary.status.scored, summary.status.failed) == (2, 1)
    [failure] = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["stage"], failure["error"]) == ("target", "--class-map leaves its classes out (unicorn)")
