"""clusters.parquet of runs whose maps a test has made, so that what is to be found in them is known."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cue_runs import Row, anywhere, ids, spot, spots, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.bootstrap import image_key
from igcam_batch.report.cues import NothingSeenError, read_clusters, write_clusters
from igcam_batch.storage import open_store
from igcam_batch.tables import FAILURES, SCORES, commit_shard, heatmap_array, heatmaps_schema


def rows_of(table: pa.Table, **wanted: Any) -> list[dict[str, Any]]:
    rows = table.drop_columns(["mean_map"]).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def corner_and_objects() -> list[Row]:
    """A class that looks at its bottom right corner in 40 of 60 images, and two whose objects lie anywhere."""
    odd = spots(ids("odd", 40), 0, 6, 6, name="fox") + anywhere(ids("fox", 20), 0, name="fox")
    return odd + anywhere(ids("hen", 60), 1, name="hen") + anywhere(ids("owl", 60), 2, name="owl")


class TestTheFirstFinding:
    @pytest.fixture
    def table(self, tmp_path: Path) -> pa.Table:
        return write_clusters(write_run(tmp_path, corner_and_objects()))

    def test_names_class_and_corner_and_says_how_much_against_what(self, table: pa.Table) -> None:
        first = rows_of(table)[0]
        keys = ("rank", "kind", "target", "target_name", "cue", "where", "images", "sampled", "of_class")
        assert [first[key] for key in keys] == [1, "cluster", 0, "fox", "corner", "bottom right", 40, 60, 60]
        own, usual = round(100 * first["bottom_right"]), round(100 * first["usual_bottom_right"])
        expected = (
            f"40 of 60 sampled maps of fox look at the bottom right corner: {own} % of their attention, {usual} %"
        )
        assert first["finding"] == f"{expected} in other classes"
        assert own > 10 * usual

    def test_has_the_images_that_look_there_the_most_typical_first(self, table: pa.Table) -> None:
        first = rows_of(table, embedding="spatial", target=0)[0]
        assert set(first["members"]) == set(ids("odd", 40))
        assert len(first["examples"]) == 8
        assert set(first["examples"]) <= set(first["members"])
        maps = {row.image_id: np.sqrt(row.heatmap / row.heatmap.sum()) for row in corner_and_objects()}
        centre = np.mean([maps[name] for name in first["members"]], axis=0)
        away = {name: float(((maps[name] - centre) ** 2).sum()) for name in first["members"]}
        assert first["examples"] == sorted(away, key=lambda name: away[name])[:8]

    def test_is_what_the_file_holds(self, table: pa.Table, tmp_path: Path) -> None:
        assert read_clusters(str(tmp_path)).equals(table)

    def test_comes_with_a_row_for_every_class_as_a_whole(self, table: pa.Table) -> None:
        whole = rows_of(table, kind="class")
        assert sorted(row["target"] for row in whole) == [0, 1, 2]
        assert {(row["embedding"], row["cluster"], row["apart"], row["share"]) for row in whole} == {
            (None,) * 3 + (1.0,)
        }
        assert {row["cue"] for row in whole if row["target"] != 0} == {"none"}

    def test_ranks_are_by_suspicion(self, table: pa.Table) -> None:
        assert table["rank"].to_pylist() == list(range(1, len(table) + 1))
        assert table["suspicion"].to_pylist() == sorted(table["suspicion"].to_pylist(), reverse=True)


def test_numbers_are_means_over_the_members_and_usual_ones_over_all_other_classes(tmp_path: Path) -> None:
    rows = corner_and_objects()
    whole = rows_of(write_clusters(write_run(tmp_path, rows)), kind="class", target=1)[0]
    corners = {}
    for row in rows:  # a quarter of a side of 7 cells is 1.75 of them
        cells = row.heatmap / row.heatmap.sum()
        weights = np.array([0, 0, 0, 0, 0, 0.75, 1])
        corners.setdefault(row.target, []).append(float(weights @ cells @ weights))
    own, others = np.array(corners[1]), np.array(corners[0] + corners[2])
    assert whole["bottom_right"] == pytest.approx(own.mean(), rel=1e-4)
    assert whole["usual_bottom_right"] == pytest.approx(others.mean(), rel=1e-4)
    error = math.sqrt(others.var(ddof=1) / 60 + others.var(ddof=1) / 120)  # the own spread is smaller
    assert own.var() < others.var()
    assert whole["error_bottom_right"] == pytest.approx(error, rel=1e-3)
    mean = np.mean([row.heatmap / row.heatmap.sum() for row in rows if row.target == 1], axis=0)
    table = read_clusters(str(tmp_path))
    place = [(row["kind"], row["target"]) for row in rows_of(table)].index(("class", 1))
    np.testing.assert_allclose(table["mean_map"].combine_chunks().to_numpy_ndarray()[place], mean, rtol=1e-4)


def test_two_ways_of_looking_at_a_class_are_two_groups(tmp_path: Path) -> None:
    left, right = ids("left", 30), ids("right", 50)
    rows = spots(left, 0, 3, 1, name="fox") + spots(right, 0, 3, 5, name="fox") + anywhere(ids("hen", 40), 1)
    found = rows_of(write_clusters(write_run(tmp_path, rows)), kind="cluster", embedding="spatial", target=0)
    by_number = sorted(found, key=lambda row: row["cluster"])
    assert [set(row["members"]) for row in by_number] == [set(right), set(left)]
    assert [row["share"] for row in by_number] == pytest.approx([5 / 8, 3 / 8])
    assert min(row["apart"] for row in found) > 0.5
    assert by_number[1]["finding"].startswith(
        "30 of 80 sampled maps of fox look elsewhere than the others of the class"
    )


def test_two_patterns_that_lie_anywhere_are_two_groups_for_the_embedding_that_does_not_know_the_place(
    tmp_path: Path,
) -> None:
    single = anywhere(ids("single", 40), 0, side=14)
    double = [
        Row(row.image_id, 0, row.heatmap + np.roll(row.heatmap, 5, axis=0))
        for row in anywhere(ids("double", 40), 0, side=14)
    ]
    table = write_clusters(write_run(tmp_path, single + double + anywhere(ids("hen", 40), 1, side=14)))
    found = rows_of(table, kind="cluster", embedding="position-invariant", target=0)
    assert {frozenset(row["members"]) for row in found} == {frozenset(ids("single", 40)), frozenset(ids("double", 40))}
    assert min(row["apart"] for row in found) > 0.15
    assert not [row for row in rows_of(table, embedding="spatial", target=0) if row["images"] == 40]


@pytest.mark.parametrize("shard_size", [1, 7, 1000])
def test_the_result_does_not_depend_on_the_size_or_the_order_of_shards(tmp_path: Path, shard_size: int) -> None:
    rows = corner_and_objects()
    expected = write_clusters(write_run(tmp_path / "one", rows))
    order = np.random.default_rng(shard_size).permutation(len(rows))
    assert write_clusters(write_run(tmp_path / "two", [rows[row] for row in order], shard_size)).equals(expected)


def test_classes_are_compared_by_one_method_and_all_methods_stand_in_one_ranking(tmp_path: Path) -> None:
    rows = [
        Row(row.image_id, row.target, row.heatmap if method == "cam" else row.heatmap[::-1], method, row.name)
        for row in corner_and_objects()
        for method in ("cam", "xgrad-cam")
    ]
    output = write_run(tmp_path, rows)
    both = write_clusters(output)
    for method, where in (("cam", "bottom right"), ("xgrad-cam", "top right")):
        of_method = rows_of(both, method=method)
        assert {row["where"] for row in of_method if row["cue"] == "corner"} == {where}
        alone = rows_of(write_clusters(output, method))
        assert [row | {"rank": 0} for row in of_method] == [row | {"rank": 0} for row in alone]
    assert both["rank"].to_pylist() == list(range(1, len(both) + 1))


class TestFewMaps:
    def test_a_class_with_one_image_is_told_of_and_claims_nothing(self, tmp_path: Path) -> None:
        rows = [Row("one.jpg", 0, spot(6, 6, 0), name="fox"), *anywhere(ids("hen", 40), 1)]
        (one,) = rows_of(write_clusters(write_run(tmp_path, rows)), target=0)
        assert (one["images"], one["suspicion"], one["cue"]) == (1, 0.0, "none")
        assert one["finding"] == "the one map of fox: nothing odd"
        assert one["members"] == one["examples"] == ["one.jpg"]

    def test_a_run_of_one_image_has_its_row(self, tmp_path: Path) -> None:
        (one,) = rows_of(write_clusters(write_run(tmp_path, [Row("one.jpg", 0, spot(6, 6, 0))])))
        assert (one["rank"], one["suspicion"], one["usual_border"], one["error_border"]) == (1, 0.0, None, None)

    def test_two_maps_of_noise_do_not_rank_above_many_that_agree(self, tmp_path: Path) -> None:
        noisy = [
            Row(f"{target}-{number}.jpg", target, np.random.default_rng(100 * target + number).random((7, 7)) ** 8)
            for target in range(2, 30)
            for number in range(2)
        ]
        faint = [
            Row(row.image_id, 0, row.heatmap + 0.6 * spot(6, 6, number), name="fox")
            for number, row in enumerate(anywhere(ids("fox", 60), 0))
        ]
        table = write_clusters(write_run(tmp_path, [*noisy, *faint, *anywhere(ids("hen", 60), 1)]))
        first = rows_of(table)[0]
        assert (first["target_name"], first["where"]) == ("fox", "bottom right")
        assert {row["cue"] for row in rows_of(table) if row["target"] >= 2} == {"none"}

    def test_a_run_of_one_class_is_compared_with_the_area(self, tmp_path: Path) -> None:
        first = rows_of(write_clusters(write_run(tmp_path, spots(ids("fox", 30), 0, 6, 6, name="fox"))))[0]
        assert (first["cue"], first["where"], first["usual_bottom_right"]) == ("corner", "bottom right", None)
        assert first["finding"].endswith("% of their attention, on 6 % of the area")


class TestMapsThatSayLittle:
    def test_maps_that_are_zero_everywhere_are_left_out_but_counted(self, tmp_path: Path) -> None:
        blank = [Row(name, 0, np.zeros((7, 7), np.float32)) for name in ids("blank", 5)]
        whole = rows_of(write_clusters(write_run(tmp_path, blank + anywhere(ids("seen", 20), 0))), kind="class")[0]
        assert (whole["sampled"], whole["of_class"]) == (20, 25)
        assert set(whole["members"]) == set(ids("seen", 20))

    def test_a_run_of_nothing_else_is_refused(self, tmp_path: Path) -> None:
        output = write_run(tmp_path, [Row(name, 0, np.zeros((7, 7), np.float32)) for name in ids("blank", 5)])
        with pytest.raises(NothingSeenError, match=r"holds no map that is not zero everywhere"):
            write_clusters(output)
        assert not (tmp_path / "clusters.parquet").exists()

    def test_constant_maps_are_one_group_that_looks_everywhere(self, tmp_path: Path) -> None:
        rows = [Row(name, number % 2, np.full((7, 7), number + 1.0)) for number, name in enumerate(ids("even", 80))]
        table = write_clusters(write_run(tmp_path, rows))
        assert [row["kind"] for row in rows_of(table)] == ["class", "class"]
        assert [row["bottom_right"] for row in rows_of(table)] == pytest.approx([1 / 16] * 2)
        assert [row["suspicion"] for row in rows_of(table)] == pytest.approx([0, 0], abs=1e-6)

    def test_copies_of_two_maps_are_two_groups(self, tmp_path: Path) -> None:
        copies = [
            Row(name, 0, spot(3, 1, 0) if number < 20 else spot(3, 5, 1)) for number, name in enumerate(ids("x", 45))
        ]
        found = rows_of(write_clusters(write_run(tmp_path, copies)), kind="cluster", embedding="spatial")
        assert [row["images"] for row in sorted(found, key=lambda row: row["cluster"])] == [25, 20]

    @pytest.mark.parametrize("scale", [1e-40, 1e38])
    def test_the_scale_of_maps_does_not_matter(self, tmp_path: Path, scale: float) -> None:
        rows = corner_and_objects()
        scaled = [
            Row(r.image_id, r.target, (r.heatmap.astype(np.float64) * scale).astype(np.float32), name=r.name)
            for r in rows
        ]
        expected, found = (
            rows_of(write_clusters(write_run(tmp_path / name, of))) for name, of in (("one", rows), ("two", scaled))
        )
        assert found[0]["finding"] == expected[0]["finding"]

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
    def test_what_is_no_attention_counts_as_none(self, tmp_path: Path, value: float) -> None:
        rows = corner_and_objects()
        for row in rows[::3]:
            row.heatmap[0, 0] = value
        table = write_clusters(write_run(tmp_path, rows))
        assert rows_of(table)[0]["where"] == "bottom right"
        assert not_finite(table) == []


class TestBoxes:
    def test_outside_is_what_the_boxes_do_not_hold_and_null_without_boxes(self, tmp_path: Path) -> None:
        boxed = [Row(r.image_id, 0, r.heatmap, ebpg=0.75) for r in anywhere(ids("fox", 30), 0)]
        halves = [Row(r.image_id, 1, r.heatmap, ebpg=0.5) for r in anywhere(ids("hen", 30), 1)]
        rows = boxed + halves + anywhere(ids("owl", 30), 2)
        found = {row["target"]: row for row in rows_of(write_clusters(write_run(tmp_path, rows)), kind="class")}
        outside = [(found[target]["outside"], found[target]["usual_outside"]) for target in range(3)]
        assert outside == [(0.25, 0.5), (0.5, 0.25), (None, 0.375)]

    def test_a_class_whose_maps_lie_outside_its_boxes_says_so(self, tmp_path: Path) -> None:
        rows = [
            Row(r.image_id, target, r.heatmap, name=name, ebpg=ebpg + 0.001 * number)
            for target, (name, ebpg) in enumerate([("fox", 0.1), ("hen", 0.8), ("owl", 0.8)])
            for number, r in enumerate(anywhere(ids(name, 40), target))
        ]
        first = rows_of(write_clusters(write_run(tmp_path, rows)))[0]
        assert (first["cue"], first["where"], first["target_name"]) == ("outside boxes", None, "fox")
        assert first["finding"] == (
            "the 40 sampled maps of fox look outside the boxes: 88 % of their attention, 18 % in other classes"
        )

    def test_who_looks_at_a_corner_because_the_object_is_there_is_not_suspicious(self, tmp_path: Path) -> None:
        rows = [
            Row(r.image_id, r.target, r.heatmap, ebpg=0.99 if r.target == 0 else 0.9)
            for r in spots(ids("odd", 40), 0, 6, 6) + anywhere(ids("hen", 60), 1)
        ]
        assert {row["cue"] for row in rows_of(write_clusters(write_run(tmp_path, rows)))} == {"none"}

    def test_without_any_box_no_number_is_made_up(self, tmp_path: Path) -> None:
        table = write_clusters(write_run(tmp_path, corner_and_objects()))
        for name in ("outside", "usual_outside", "error_outside"):
            assert table[name].null_count == len(table)
        assert not_finite(table) == []


def test_accuracy_is_of_rows_whose_target_is_the_label_alone(tmp_path: Path) -> None:
    sources = [("label", 0), ("predicted+label", 0), ("label", 1), ("predicted", 0), ("class", 1)]
    maps = anywhere(ids("x", len(sources)), 0)
    rows = [
        Row(r.image_id, 0, r.heatmap, source=source, predicted=predicted, confidence=0.1 * number)
        for number, (r, (source, predicted)) in enumerate(zip(maps, sources, strict=True))
    ]
    unlabelled = [Row(r.image_id, 1, r.heatmap, source="predicted", confidence=None) for r in anywhere(ids("y", 3), 1)]
    found = {row["target"]: row for row in rows_of(write_clusters(write_run(tmp_path, rows + unlabelled)))}
    assert found[0]["accuracy"] == pytest.approx(2 / 3)
    assert found[0]["confidence"] == pytest.approx(0.2)
    assert (found[1]["accuracy"], found[1]["confidence"]) == (None, None)


@pytest.mark.parametrize("shape", [(224, 224), (9, 20), (1, 1), (15, 3)])
def test_maps_of_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    rows = [
        Row(f"{target}-{number}.jpg", target, np.random.default_rng(number).random(shape, dtype=np.float32))
        for target in range(2)
        for number in range(20)
    ]
    table = write_clusters(write_run(tmp_path, rows))
    maps = table["mean_map"].combine_chunks().to_numpy_ndarray()
    assert maps.shape[1:] == tuple(min(side, 14) for side in shape)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-4)
    assert {row["cue"] for row in rows_of(table)} == {"none"}


def test_a_finding_is_one_line_whatever_the_class_is_called(tmp_path: Path) -> None:
    rows = spots(ids("x", 30), 0, 6, 6, name="red\nfox\t<b>") + anywhere(ids("hen", 40), 1)
    first = rows_of(write_clusters(write_run(tmp_path, rows)))[0]
    assert first["finding"].startswith("the 30 sampled maps of red fox <b> look at the bottom right corner")
    assert first["target_name"] == "red\nfox\t<b>"


class TestRunsThatAreNotWhole:
    def test_of_a_partial_run_the_committed_shards_count(self, tmp_path: Path) -> None:
        rows = corner_and_objects()
        expected = write_clusters(write_run(tmp_path / "part", rows[:100]))
        whole = write_run(tmp_path / "whole", rows)
        for shard in (2, 3):  # their heatmaps are there, their commits are not
            (tmp_path / "whole" / "scores" / f"part-{shard:06d}.parquet").unlink()
        assert write_clusters(whole).equals(expected)

    def test_failures_alone_are_refused_with_their_cause(self, tmp_path: Path) -> None:
        store = open_store(str(tmp_path))
        failures = [
            {"image_id": f"{n}", "uri": f"{n}", "stage": "decode", "error": "broken", "attempts": 1} for n in (1, 2)
        ]
        maps = heatmap_array(np.empty((0, 7, 7), np.float32), "float32")
        heatmaps = pa.Table.from_arrays([[], [], [], maps], schema=heatmaps_schema((7, 7), "float32"))
        commit_shard(store, 0, SCORES.empty_table(), heatmaps, pa.Table.from_pylist(failures, schema=FAILURES), 2)
        with pytest.raises(InputError, match="all 2 images that were reached failed with: decode: broken"):
            write_clusters(str(tmp_path))

    def test_a_directory_without_a_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no heatmaps of an audit; run `igcam-batch audit INPUT"):
            write_clusters(str(tmp_path))
        with pytest.raises(InputError, match=r"holds no clusters.parquet; `igcam-batch report .*` writes it"):
            read_clusters(str(tmp_path))

    def test_a_method_that_was_not_run_is_named(self, tmp_path: Path) -> None:
        output = write_run(tmp_path, anywhere(ids("x", 3), 0))
        with pytest.raises(NothingSeenError, match="holds no map by score-cam that is not zero everywhere"):
            write_clusters(output, "score-cam")


def test_of_a_large_class_those_images_are_sampled_whose_names_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("igcam_batch.report.cues.sample.MOST_OF_A_CLASS", 40)
    names = ids("x", 300)
    expected = sorted(names, key=image_key)[:40]
    rows = anywhere(names, 0) + anywhere(ids("y", 30), 1)
    found = {row["target"]: row for row in rows_of(write_clusters(write_run(tmp_path, rows, 11)), kind="class")}
    assert found[0]["members"] == expected
    assert [(found[target]["sampled"], found[target]["of_class"]) for target in (0, 1)] == [(40, 300), (30, 30)]


def test_many_large_classes_share_what_may_be_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igcam_batch.report.cues.sample._MOST", 100)
    rows = [row for target in range(5) for row in anywhere(ids(f"{target}", 60), target)]
    found = rows_of(write_clusters(write_run(tmp_path / "a", rows, 13)), kind="class")
    assert {row["sampled"] for row in found} == {16}  # of 512, 256, ... the first that lets 5 classes be 100 together
    assert {row["of_class"] for row in found} == {60}
    again = rows_of(write_clusters(write_run(tmp_path / "b", rows[::-1], 31)), kind="class")
    assert json.dumps(again) == json.dumps(found)


def not_finite(table: pa.Table) -> list[str]:
    """Columns that hold a NaN or an infinity."""
    found = [name for name in table.column_names if pa.types.is_floating(table[name].type)]
    maps: Callable[[], np.ndarray] = table["mean_map"].combine_chunks().to_numpy_ndarray
    assert np.isfinite(maps()).all()
    return [name for name in found if not np.isfinite(table[name].drop_null().to_numpy()).all()]
