"""What is explained of an image, and what its rows say: pictures of every kind, targets, boxes, and precision."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from drawings import picture
from PIL import Image
from promise import keyed

import igcam_batch
from igcam_batch.audit.job import Summary

METHODS = ["grad-cam", "grad-cam++", "integrated-grad-cam"]


def test_every_kind_of_picture_is_explained_as_its_plain_twin(
    tmp_path: Path, audit_here: Callable[..., Summary]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    colour, grey = picture(3), picture(4).convert("L")
    colour.save(images / "plain.png")
    grey.convert("RGB").save(images / "grey_plain.png")
    twins = {"plain.png": ["alpha.png", "palette.png", "turned.png"], "grey_plain.png": ["grey.png", "deep.png"]}

    opaque = colour.convert("RGBA")
    opaque.save(images / "alpha.png")
    flat = colour.quantize(256)
    flat.save(images / "palette.png")
    flat.convert("RGB").save(images / "plain.png")  # so that the palette loses nothing against its twin
    flat.convert("RGBA").save(images / "alpha.png")
    turned = flat.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to display
    turned.save(images / "turned.png", exif=exif)
    grey.save(images / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(images / "deep.png")
    cmyk = colour.convert("CMYK")
    cmyk.save(images / "cmyk.tif")
    cmyk.convert("RGB").save(images / "cmyk_plain.png")
    twins["cmyk_plain.png"] = ["cmyk.tif"]

    output = audit_here(images, method=METHODS).output
    rows, maps = keyed(igcam_batch.read_scores(output)), keyed(igcam_batch.read_heatmaps(output))
    by_image = {key[0]: key[1] for key in rows}
    for plain, others in twins.items():
        for other in others:
            for method in METHODS:
                mine, theirs = (other, by_image[other], method), (plain, by_image[plain], method)
                assert rows[mine]["predicted"] == rows[theirs]["predicted"]
                assert rows[mine]["score"] == pytest.approx(rows[theirs]["score"], rel=1e-4)
                assert (rows[mine]["width"], rows[mine]["height"]) == (96, 80)
                np.testing.assert_allclose(maps[mine]["heatmap"], maps[theirs]["heatmap"], rtol=1e-4, atol=1e-6)


def test_labels_are_targets_in_an_imagefolder(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    output = audit_here(pictures("cat/1.png", "cat/2.png", "Bee/3.png"), target="label").output
    rows = igcam_batch.read_scores(output).to_pylist()
    assert {
        (row["image_id"], row["label"], row["target"], row["target_name"], row["target_source"]) for row in rows
    } == {
        ("cat/1.png", "cat", 2, "cat", "label"),
        ("cat/2.png", "cat", 2, "cat", "label"),
        ("Bee/3.png", "Bee", 1, "bee", "label"),
    }


def test_a_model_without_names_takes_the_sorted_directories_as_classes(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    images = pictures("v/1.png", "z/2.png", "w/3.png", "y/4.png", "x/5.png")
    output = audit_here(images, model="factories:unnamed_cnn", input_size=32, target="label").output
    rows = igcam_batch.read_scores(output).to_pylist()
    assert [(row["label"], row["target"], row["target_name"]) for row in rows] == [
        (name, index, name) for index, name in enumerate("vwxyz")
    ]


def test_a_class_map_names_the_model_s_class(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    mapping = tmp_path / "map.json"
    mapping.write_text('{"kitten": "cat", "wasp": 1}')
    output = audit_here(pictures("kitten/1.png", "wasp/2.png"), target="label", class_map=str(mapping)).output
    assert igcam_batch.read_scores(output)["target"].to_pylist() == [2, 1]


def test_class_ids_are_explained_in_every_image(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    rows = igcam_batch.read_scores(audit_here(pictures("a.png", "b.png"), target="class:4,1").output).to_pylist()
    assert [(row["image_id"], row["target"]) for row in rows] == [
        ("a.png", 4),
        ("a.png", 1),
        ("b.png", 4),
        ("b.png", 1),
    ]


def test_boxes_of_the_target_s_class_are_scored_and_others_are_not(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    root = pictures("JPEGImages/1.png", "JPEGImages/2.png").parent / "images"
    (root / "Annotations").mkdir()
    box = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>80</ymax></bndbox></object>"
    boxes = box.format("cat", 48) + box.format("dog", 96)
    (root / "Annotations" / "1.xml").write_text(f"<annotation>{boxes}</annotation>")
    (root / "Annotations" / "2.xml").write_text(f"<annotation>{box.format('eel', 96)}</annotation>")
    output = audit_here(root, target="labels").output
    rows = keyed(igcam_batch.read_scores(output))
    maps = keyed(igcam_batch.read_heatmaps(output, size=32))
    method = "integrated-grad-cam"
    assert {key[:2] for key in rows} == {
        ("JPEGImages/1.png", 2),
        ("JPEGImages/1.png", 3),
        ("JPEGImages/2.png", 4),
    }
    heat = np.array(maps["JPEGImages/1.png", 2, method]["heatmap"]).reshape(32, 32)
    assert rows["JPEGImages/1.png", 2, method]["ebpg"] == pytest.approx(heat[:, :16].sum() / heat.sum(), rel=1e-4)
    assert rows["JPEGImages/1.png", 3, method]["ebpg"] == pytest.approx(1)
    assert rows["JPEGImages/1.png", 3, method]["label"] == "cat, dog"


def test_scores_that_are_not_finite_cost_one_image(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "b.png", "c.png")
    Image.new("RGB", (64, 64), "white").save(images / "b.png")
    summary = audit_here(images, model="factories:not_finite")
    (failure,) = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["image_id"], failure["stage"]) == ("b.png", "explain")
    assert "NaN" in failure["error"]
    assert igcam_batch.read_scores(summary.output)["image_id"].to_pylist() == ["a.png", "c.png"]


def test_input_may_lie_inside_output(pictures: Callable[..., Path], audit_here: Callable[..., Summary]) -> None:
    images = pictures("a.png", under="out/photos")
    assert audit_here(images, images.parent).status.scored == 1


def test_chosen_metrics_alone_are_computed(pictures: Callable[..., Path], audit_here: Callable[..., Summary]) -> None:
    (row,) = igcam_batch.read_scores(audit_here(pictures("a.png"), metric=["ebpg"]).output).to_pylist()
    assert row["masked_confidence"] is row["drop"] is row["increase"] is None
    assert row["confidence"] is not None


def test_what_an_audit_wrote_into_input_is_not_explained_by_the_next(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "out/sheet.png")
    assert igcam_batch.read_scores(audit_here(images, images / "out").output)["image_id"].to_pylist() == ["a.png"]


def test_half_precision_maps_are_stored_and_read_back(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "b.png")
    full = igcam_batch.read_heatmaps(audit_here(images).output, size=16)["heatmap"].combine_chunks().to_numpy_ndarray()
    half = audit_here(images, images.parent / "half", heatmap_dtype="float16").output
    stored = igcam_batch.read_heatmaps(half)
    assert stored.schema.field("heatmap").type.value_type == pa.float16()
    again = igcam_batch.read_heatmaps(half, size=16)["heatmap"].combine_chunks().to_numpy_ndarray()
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, full, rtol=2e-3, atol=1e-6)


def test_bfloat16_stays_near_float32(pictures: Callable[..., Path], audit_here: Callable[..., Summary]) -> None:
    images = pictures("a.png", "b.png", "c.png")
    exact = igcam_batch.read_heatmaps(audit_here(images).output)["heatmap"].combine_chunks().to_numpy_ndarray()
    output = audit_here(images, images.parent / "bf16", precision="bf16").output
    near = igcam_batch.read_heatmaps(output)["heatmap"].combine_chunks().to_numpy_ndarray()
    assert np.linalg.norm(near - exact) < 0.03 * np.linalg.norm(exact)
    assert not np.array_equal(near, exact)
