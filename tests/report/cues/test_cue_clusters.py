"""clusters.parquet of runs whose cues are known."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from written_runs import METHOD, blob, score, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.cues import NothingSeenError, read_clusters, write_clusters


def noisy(maps: list[np.ndarray], seed: int = 0) -> np.ndarray:
    return np.stack(maps) + np.random.default_rng(seed).random((len(maps), *maps[0].shape)) * 0.01


def run_of(output: Path, modes: dict[int, list[tuple[float, float, int]]], shard_size: int = 50, **values) -> str:
    """A run whose class has so many maps at each place: `{class: [(row, column, how many)]}`."""
    rows, maps = [], []
    for target, places in modes.items():
        for row, column, count in places:
            for number in range(count):
                rows.append(score(f"{target}/{row}-{column}-{number:04d}.png", target, **values))
                maps.append(blob(row, column))
    return write_run(output, rows, noisy(maps), shard_size=shard_size)


def test_two_modes_of_a_class_are_two_clusters_with_the_right_members(tmp_path: Path) -> None:
    output = run_of(tmp_path / "out", {0: [(3, 3, 40), (6, 6, 20)], 1: [(3, 3, 60)]})
    rows = [row for row in write_clusters(output, METHOD).to_pylist() if row["embedding"] == "spatial"]
    assert {row["target"] for row in rows} == {0}
    large, small = sorted(rows, key=lambda row: row["cluster"])
    assert {name.split("-")[0] for name in large["members"]} == {"0/3"}
    assert {name.split("-")[0] for name in small["members"]} == {"0/6"}
    assert (large["images"], small["images"]) == (40, 20)
    assert small["share"] == pytest.approx(1 / 3)
    assert set(small["examples"]) <= set(small["members"])


def test_the_corner_that_a_third_of_a_class_looks_at_is_the_first_finding(tmp_path: Path) -> None:
    output = run_of(tmp_path / "out", {0: [(3, 3, 40), (6, 6, 20)], 1: [(3, 3, 60)], 2: [(2, 3, 60)]})
    first = write_clusters(output, METHOD).to_pylist()[0]
    assert (first["rank"], first["target"], first["cue"], first["where"]) == (1, 0, "corner", "bottom right")
    assert first["images"] == 20
    assert first["finding"].startswith("20 of 60 sampled maps of class 0 look at the bottom right corner: ")


def test_a_few_maps_in_a_corner_are_not_ranked_above_many(tmp_path: Path) -> None:
    output = run_of(tmp_path / "out", {0: [(6, 6, 2)], 1: [(3, 3, 60)], 2: [(6, 0, 60)]})
    rows = write_clusters(output, METHOD).to_pylist()
    assert (rows[0]["target"], rows[0]["where"]) == (2, "bottom left")


def test_a_corner_where_the_object_is_counts_little(tmp_path: Path) -> None:
    there = run_of(tmp_path / "a", {0: [(6, 6, 60)], 1: [(3, 3, 60)]}, ebpg=0.95)
    elsewhere = run_of(tmp_path / "b", {0: [(6, 6, 60)], 1: [(3, 3, 60)]}, ebpg=0.05)
    of_there, of_elsewhere = (write_clusters(output, METHOD).to_pylist()[0] for output in (there, elsewhere))
    assert of_elsewhere["cue"] == "corner"
    assert of_there["suspicion"] < 0.1 < of_elsewhere["suspicion"]
    assert of_elsewhere["outside"] == pytest.approx(0.95, abs=1e-3)


def test_attention_outside_the_boxes_is_a_cue_of_its_own(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [score(f"{n}.png", n % 2, ebpg=0.1 if n % 2 else 0.9) for n in range(80)]
    maps = noisy([blob(*generator.uniform(2, 4, 2)) for _ in rows])
    first = write_clusters(write_run(tmp_path / "out", rows, maps), METHOD).to_pylist()[0]
    assert (first["target"], first["cue"], first["where"], first["kind"]) == (1, "outside boxes", None, "class")
    assert "look outside the boxes: 90 % of their attention, 10 % in other classes" in first["finding"]


def test_nothing_is_odd_where_all_classes_look_alike(tmp_path: Path) -> None:
    table = write_clusters(run_of(tmp_path / "out", {target: [(3, 3, 40)] for target in range(4)}), METHOD)
    assert set(table["cue"].to_pylist()) == {"none"}


def test_shards_and_their_order_do_not_matter(tmp_path: Path) -> None:
    places = [(3, 3)] * 40 + [(6, 6)] * 25 + [(3, 3)] * 40
    rows = [score(f"{number}.png", int(number > 64)) for number in range(len(places))]
    maps = noisy([blob(*place) for place in places])
    order = np.random.default_rng(0).permutation(len(rows))
    whole = write_run(tmp_path / "a", rows, maps, shard_size=1000)
    cut = write_run(tmp_path / "b", [rows[place] for place in order], maps[order], shard_size=7)
    assert write_clusters(whole, METHOD).equals(write_clusters(cut, METHOD))


def test_the_sample_of_a_class_is_bounded_and_told(tmp_path: Path) -> None:
    [row] = write_clusters(run_of(tmp_path / "out", {0: [(3, 3, 400)]}), METHOD).to_pylist()
    assert (row["sampled"], row["of_class"], len(row["members"])) == (256, 400, 256)
    assert row["usual_border"] is None


def test_one_map_and_maps_of_nothing(tmp_path: Path) -> None:
    rows = [score("one.png", 0), score("zero.png", 1), score("flat.png", 2)]
    maps = np.stack([blob(3, 3), np.zeros((7, 7)), np.ones((7, 7))])
    table = write_clusters(write_run(tmp_path / "out", rows, maps), METHOD)
    assert sorted(table["target"].to_pylist()) == [0, 2]
    for name in table.column_names:
        if str(table.schema.field(name).type) == "float":
            assert not np.isnan(table[name].drop_null().to_numpy()).any()
    assert all(row["finding"].startswith("the one map of class") for row in table.to_pylist())


def test_only_maps_of_nothing_are_told(tmp_path: Path) -> None:
    output = write_run(tmp_path / "out", [score("zero.png")], np.zeros((1, 7, 7)))
    with pytest.raises(NothingSeenError, match="holds no map by integrated-grad-cam that is not zero everywhere"):
        write_clusters(output, METHOD)
    with pytest.raises(InputError, match=r"holds no clusters\.parquet; `igcam-batch report"):
        read_clusters(output)


def test_a_class_without_a_name_is_called_by_its_index(tmp_path: Path) -> None:
    rows = [score(f"{n}.png", 7, target_name=None) for n in range(3)]
    [row] = write_clusters(write_run(tmp_path / "out", rows, np.stack([blob(3, 3)] * 3)), METHOD).to_pylist()
    assert "class 7" in row["finding"]
    assert row["target_name"] is None


def test_large_maps_are_brought_to_fewer_cells_and_keep_their_shares(tmp_path: Path) -> None:
    maps = np.zeros((1, 224, 100))
    maps[0, -20:, -10:] = 1
    output = write_run(tmp_path / "out", [score("a.png")], maps)
    [row] = write_clusters(output, METHOD).to_pylist()
    assert row["bottom_right"] == pytest.approx(1, abs=1e-3)
    table = pq.read_table(Path(output) / "clusters.parquet")
    assert table["mean_map"].combine_chunks().to_numpy_ndarray().shape == (1, 14, 14)
    assert table["mean_map"].combine_chunks().to_numpy_ndarray().sum() == pytest.approx(1, abs=1e-5)


def test_the_table_read_is_the_table_written(tmp_path: Path) -> None:
    output = run_of(tmp_path / "out", {0: [(3, 3, 5)], 1: [(1, 1, 5)]})
    assert write_clusters(output, METHOD).equals(read_clusters(output))
