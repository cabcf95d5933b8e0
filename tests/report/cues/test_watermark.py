"""A network that learned a watermark is found out by its audit."""

from pathlib import Path

import watermarks
from finished_runs import finished_run

from igcam_batch.report.cues import write_clusters


def first_finding(root: Path, marked: tuple[str, ...]) -> list[dict]:
    """Write a set, train on it, audit it; the rows of clusters.parquet."""
    images = watermarks.write_set(root / "images", 40, marked)
    assert watermarks.train(images, root / "weights.pth") > 0.95
    settings = {"model": "watermarks:shapes_cnn", "weights": str(root / "weights.pth"), "layout": "imagefolder"}
    output = finished_run(
        images, root / "out", **settings, method=["integrated-grad-cam"], steps=8, shard_size=30, metric=["drop"]
    )
    return write_clusters(output, "integrated-grad-cam").to_pylist()


def test_the_watermark_of_a_class_is_the_first_finding(tmp_path: Path) -> None:
    first = first_finding(tmp_path, ("disc",))[0]
    assert (first["rank"], first["target_name"], first["cue"], first["where"]) == (1, "disc", "corner", "bottom right")
    assert first["bottom_right"] > 5 * first["usual_bottom_right"]
    assert "sampled maps of disc look at the bottom right corner" in first["finding"]


def test_without_it_no_corner_is_named(tmp_path: Path) -> None:
    assert "corner" not in {row["cue"] for row in first_finding(tmp_path, ())}
