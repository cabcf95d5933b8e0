"""What a shard leaves in OUTPUT, in which order, and what of it readers believe."""

import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from igcam_batch import iter_heatmaps, read_failures, read_heatmaps, read_scores
from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore, open_store
from igcam_batch.tables import (
    FAILURES,
    SCORES,
    Committed,
    commit_shard,
    committed_shards,
    heatmap_array,
    heatmaps_schema,
    is_committed,
    read_commit,
    readers,
)
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.shards import open_table

SHAPE = (3, 5)


def scores_of(*images: str) -> pa.Table:
    rows = [
        {
            "image_id": image,
            "uri": f"/data/{image}",
            "width": 10,
            "height": 20,
            "label": None,
            "predicted": 1,
            "predicted_name": "bee",
            "target": 2,
            "target_name": "cat",
            "target_source": "class",
            "method": "grad-cam",
            "score": 1.5,
            "confidence": 0.25,
            "drop": None,
        }
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)


def maps_of(*images: str) -> np.ndarray:
    """Values that float16 holds exactly."""
    count = len(images)
    return (np.arange(count * SHAPE[0] * SHAPE[1], dtype=np.float32) / 8).reshape(count, *SHAPE)


def heatmaps_of(*images: str, dtype="float32") -> pa.Table:
    columns = [pa.array(list(images), pa.string()), [2] * len(images), ["grad-cam"] * len(images)]
    return pa.Table.from_arrays(
        [*columns, heatmap_array(maps_of(*images), dtype)], schema=heatmaps_schema(SHAPE, dtype)
    )


def failures_of(*images: str) -> pa.Table:
    rows = [
        {"image_id": image, "uri": f"/data/{image}", "stage": "decode", "error": "truncated", "attempts": 1}
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema=FAILURES)


def commit(store: LocalStore, shard: int, *images: str, failed: tuple[str, ...] = (), dtype="float32") -> None:
    planned = len(images) + len(failed)
    commit_shard(store, shard, scores_of(*images), heatmaps_of(*images, dtype=dtype), failures_of(*failed), planned)


def files(store: LocalStore) -> list[str]:
    return [entry.path for entry in store.list()]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(str(tmp_path / "output"))


class TestCommit:
    def test_puts_a_file_in_each_table_and_none_for_failures_that_there_are_not(self, store):
        commit(store, 0, "a")
        commit(store, 12, "b", failed=("c",))
        assert files(store) == [
            "failures/part-000012.parquet",
            "heatmaps/part-000000.parquet",
            "heatmaps/part-000012.parquet",
            "scores/part-000000.parquet",
            "scores/part-000012.parquet",
        ]

    def test_says_how_many_images_failed_and_rows_there_are(self, store):
        commit(store, 3, "a", "a", "b", failed=("c", "d"))
        assert read_commit(store, 3) == Committed(images=5, failed=2, rows=3)

    @pytest.mark.parametrize("left", [0, 100])
    def test_that_is_damaged_is_named_with_the_way_out(self, store, left):
        commit(store, 3, "a")
        path = Path(store.root) / "scores" / "part-000003.parquet"
        path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(InputError, match=f"^{path}: is no whole Parquet file .*; delete it, and the same audit"):
            read_commit(store, 3)

    @pytest.mark.parametrize(
        ("table", "read"), [("scores", read_scores), ("heatmaps", read_heatmaps), ("failures", read_failures)]
    )
    def test_a_file_that_a_disk_has_damaged_is_named_by_whoever_reads_it(self, store, table, read):
        commit(store, 3, "a", failed=("b",))
        path = Path(store.root) / table / "part-000003.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match=rf"^{path}: is no whole Parquet file .*delete scores/part-000003"):
            read(store.root)

    @pytest.mark.parametrize("puts", [0, 1, 2])
    def test_a_shard_cut_short_is_not_committed_and_no_reader_believes_it(self, store, monkeypatch, puts):
        commit(store, 0, "a")
        write, done = LocalStore.write, []

        def until_it_stops(self, path: str, data: bytes) -> None:
            if len(done) == puts:
                raise OSError("the node is gone")
            done.append(path)
            write(self, path, data)

        monkeypatch.setattr(LocalStore, "write", until_it_stops)
        with pytest.raises(OSError, match="the node is gone"):
            commit(store, 1, "b", failed=("c",))
        assert len(files(store)) == 2 + puts
        assert not is_committed(store, 1)
        assert list(committed_shards(store)) == [0]
        assert read_heatmaps(store.root)["image_id"].to_pylist() == ["a"]
        assert read_scores(store.root)["image_id"].to_pylist() == ["a"]
        assert len(read_failures(store.root)) == 0

    def test_committed_shards_come_in_order_and_strangers_are_passed_over(self, store):
        for shard in (10, 2, 100, 0):
            commit(store, shard, str(shard))
        for stranger in ("part-1.parquet", "part-000005.parquet.tmp", "part-000006.csv", "deeper/part-000007.parquet"):
            store.write(f"scores/{stranger}", b"x")
        assert list(committed_shards(store)) == [0, 2, 10, 100]
        assert is_committed(store, 10)
        assert not is_committed(store, 1)


class TestReadScores:
    def test_rows_come_in_the_order_of_the_plan(self, store):
        for shard, images in ((10, ("x", "y")), (2, ("c", "a")), (0, ("b",))):
            commit(store, shard, *images)
        assert read_scores(store.root)["image_id"].to_pylist() == ["b", "c", "a", "x", "y"]

    def test_gives_the_schema_back_with_null_where_there_is_no_value(self, store):
        commit(store, 0, "a")
        table = read_scores(store.root)
        assert table.schema.equals(SCORES, check_metadata=True)
        [row] = table.to_pylist()
        assert row == scores_of("a").to_pylist()[0]
        assert row["drop"] is row["ebpg"] is row["label"] is None

    def test_takes_columns_in_the_order_asked_for(self, store):
        commit(store, 0, "a")
        assert read_scores(store.root, ["score", "image_id"]).column_names == ["score", "image_id"]

    def test_an_unknown_column_is_named_with_those_there_are(self, store):
        commit(store, 0, "a")
        with pytest.raises(InputError, match=r"^columns scroe: no such column; there are: image_id, .*, score, "):
            read_scores(store.root, ["image_id", "scroe"])

    @pytest.mark.parametrize("read", [read_scores, read_heatmaps])
    def test_a_directory_without_an_audit_is_named(self, tmp_path, read):
        for place in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(InputError, match=f"^{place}: holds no (scores|heatmaps) of an audit"):
                read(str(place))

    def test_a_shard_of_failures_alone_has_no_rows(self, store):
        commit(store, 0, failed=("a", "b"))
        assert len(read_scores(store.root)) == len(read_heatmaps(store.root)) == 0
        assert read_scores(store.root).schema.equals(SCORES)

    def test_starts_no_thread_of_arrows(self, store):
        """One that lets go of a file's bytes while Python exits aborts the process (apache/arrow issue 34314)."""
        commit(store, 0, "a")
        commit(store, 1, "b", failed=("c",))
        program = """
import os, sys, igcam_batch, pyarrow.parquet, igcam_batch.tables
before = os.listdir("/proc/self/task")
for read in (igcam_batch.read_scores, igcam_batch.read_heatmaps, igcam_batch.read_failures):
    read(sys.argv[1])
sys.exit(os.listdir("/proc/self/task") != before)
"""
        subprocess.run([sys.executable, "-c", program, store.root], check=True)


class TestReadFailures:
    def test_gives_those_of_every_shard(self, store):
        commit(store, 0, "a")
        commit(store, 1, "b", failed=("c", "d"))
        table = read_failures(store.root)
        assert table.schema.equals(FAILURES)
        assert table.to_pylist() == failures_of("c", "d").to_pylist()

    def test_an_attempt_that_was_not_committed_leaves_no_failure_behind(self, store, monkeypatch):
        write = LocalStore.write

        def all_but_scores(self, path: str, data: bytes) -> None:
            if path.startswith("scores/"):
                raise OSError("no space")
            write(self, path, data)

        monkeypatch.setattr(LocalStore, "write", all_but_scores)
        with pytest.raises(OSError, match="no space"):
            commit(store, 0, "a", failed=("b",))
        monkeypatch.undo()
        assert "failures/part-000000.parquet" in files(store)
        commit(store, 0, "a", "b")
        assert files(store) == ["heatmaps/part-000000.parquet", "scores/part-000000.parquet"]
        assert read_failures(store.root).to_pylist() == []

    def test_a_file_is_not_believed_where_the_commit_says_that_nothing_failed(self, store):
        commit(store, 0, "a", "b")
        commit(store, 1, "c", failed=("d",))
        late = Path(store.root) / "failures" / "part-000000.parquet"  # of a process that was thought dead
        late.write_bytes((late.parent / "part-000001.parquet").read_bytes())
        assert read_failures(store.root)["image_id"].to_pylist() == ["d"]

    def test_is_empty_where_nothing_failed(self, store):
        commit(store, 0, "a")
        assert read_failures(store.root).to_pylist() == []
        assert read_failures(store.root).schema.equals(FAILURES)


def array(table: pa.Table) -> np.ndarray:
    return table["heatmap"].combine_chunks().to_numpy_ndarray()


class TestReadHeatmaps:
    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_gives_the_maps_as_they_were_stored(self, store, dtype):
        commit(store, 0, "a", "b", dtype=dtype)
        commit(store, 1, "c", dtype=dtype)
        table = read_heatmaps(store.root)
        assert table.schema.equals(heatmaps_schema(SHAPE, dtype))
        assert table["image_id"].to_pylist() == ["a", "b", "c"]
        assert array(table).dtype == dtype
        assert (array(table) == np.concatenate([maps_of("a", "b"), maps_of("c")])).all()

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    @pytest.mark.parametrize(("size", "pair"), [(20, (20, 20)), ((12, 31), (12, 31)), ([6, 7], (6, 7)), (2, (2, 2))])
    def test_brings_them_to_a_size_as_torch_does(self, store, dtype, size, pair):
        commit(store, 0, "a", "b", dtype=dtype)
        commit(store, 1, "c", dtype=dtype)
        table = read_heatmaps(store.root, size=size)
        small = torch.from_numpy(np.concatenate([maps_of("a", "b"), maps_of("c")]))
        large = torch.nn.functional.interpolate(small[:, None], size=pair, mode="bilinear", align_corners=False)
        assert table.schema.field("heatmap").type == pa.fixed_shape_tensor(pa.float32(), pair)
        assert table["image_id"].to_pylist() == ["a", "b", "c"]
        assert (array(table) == large[:, 0].numpy()).all()

    def test_of_no_images_is_a_table_without_rows_at_any_size(self, store):
        commit(store, 0, failed=("a",))
        assert len(read_heatmaps(store.root)) == 0
        table = read_heatmaps(store.root, size=8)
        assert len(table) == 0
        assert table.schema.field("heatmap").type == pa.fixed_shape_tensor(pa.float32(), (8, 8))

    @pytest.mark.parametrize("size", [0, -3, (5, 0)])
    def test_a_size_that_is_none_is_refused(self, store, size):
        commit(store, 0, "a")
        with pytest.raises(InputError, match="must be positive"):
            read_heatmaps(store.root, size=size)


class TestReadSomeHeatmaps:
    @pytest.fixture
    def run(self, store):
        for shard, images in enumerate(("ab", "cd", "e")):
            commit(store, shard, *images)
        return store

    @pytest.mark.parametrize(
        ("wanted", "images"),
        [
            ({"image_ids": ["d", "a", "nobody"]}, "ad"),
            ({"image_ids": {"e"}}, "e"),
            ({"image_ids": []}, ""),
            ({"methods": ["grad-cam"]}, "abcde"),
            ({"methods": []}, ""),
            ({"targets": [2], "image_ids": ["c"]}, "c"),
            ({"targets": [3], "image_ids": ["c"]}, ""),
        ],
    )
    @pytest.mark.parametrize("size", [None, 8])
    def test_rows_are_those_whose_keys_are_asked_for(self, run, wanted, images, size):
        found, every = read_heatmaps(run.root, size, **wanted), read_heatmaps(run.root, size)
        assert found.schema.equals(every.schema)
        assert found["image_id"].to_pylist() == list(images)
        places = ["abcde".index(image) for image in images]
        np.testing.assert_array_equal(array(found) if images else array(every)[:0], array(every)[places])

    def test_columns_are_those_asked_for_in_their_order(self, run):
        found = read_heatmaps(run.root, 8, columns=["method", "image_id"], image_ids=["b"])
        assert found.to_pylist() == [{"method": "grad-cam", "image_id": "b"}]
        with pytest.raises(InputError, match="columns map: no such column; there are: image_id, target, method"):
            read_heatmaps(run.root, columns=["map"])

    def test_a_method_that_the_run_does_not_have_is_refused_with_those_it_has(self, run):
        line = rf"^methods gradcam, cam: {run.root} has no such method; there are: grad-cam$"
        with pytest.raises(InputError, match=line):
            read_heatmaps(run.root, methods=["gradcam", "grad-cam", "cam"])
        with pytest.raises(InputError, match=r"methods cam: .* has no such method"):
            next(iter_heatmaps(run.root, methods={"cam"}, image_ids=["e"]))

    def test_by_no_method_is_a_run_whose_images_all_failed(self, store):
        commit(store, 0, failed=("a",))
        assert len(read_heatmaps(store.root, methods=["cam"])) == 0
        commit(store, 1, "b")
        assert len(read_heatmaps(store.root, methods=["grad-cam"])) == 1
        with pytest.raises(InputError, match=r"methods cam: .* has no such method"):
            read_heatmaps(store.root, methods=["cam"])

    def test_they_come_a_shard_at_a_time(self, run):
        tables = iter_heatmaps(run.root, size=(6, 4), image_ids=["a", "e"])
        assert [table["image_id"].to_pylist() for table in tables] == [["a"], [], ["e"]]
        first = next(iter_heatmaps(run.root, size=(6, 4)))
        np.testing.assert_array_equal(array(first), array(read_heatmaps(run.root, size=(6, 4)))[:2])

    def test_maps_of_shards_without_such_rows_are_not_read(self, run, monkeypatch):
        opened, read = [], []

        def opening(store, path):
            opened.append(Path(path).name[5:11])
            return open_table(store, path)

        def noting(file, columns=None, groups=None):
            read.append((opened[-1], columns, groups))
            return read_parquet(file, columns, groups)

        monkeypatch.setattr(readers, "open_table", opening)
        monkeypatch.setattr(readers, "read_parquet", noting)
        read_heatmaps(run.root, image_ids=["d"])
        assert read == [
            ("000000", ["image_id"], None),
            ("000000", None, []),
            ("000001", ["image_id"], None),
            ("000001", None, None),
            ("000002", ["image_id"], None),
            ("000002", None, []),
        ]

    def test_one_name_is_not_taken_for_the_letters_in_it(self, run):
        with pytest.raises(InputError, match="image_ids 'abc': take a list of them"):
            read_heatmaps(run.root, image_ids="abc")

    def test_of_a_place_without_a_run_there_are_none(self, tmp_path):
        with pytest.raises(InputError, match="holds no heatmaps of an audit"):
            next(iter_heatmaps(str(tmp_path)))


class TestOtherReaders:
    def test_duckdb_reads_scores(self, store):
        commit(store, 0, "a", "b", failed=("c",))
        commit(store, 1, "d")
        found = duckdb.sql(
            f"SELECT count(*), avg(score), count(drop), any_value(target_name) FROM '{store.root}/scores/*.parquet'"
        ).fetchall()
        assert found == [(3, 1.5, 0, "cat")]

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_duckdb_reads_a_heatmap_as_a_list_of_its_values_row_by_row(self, store, dtype):
        commit(store, 0, "a", "b", dtype=dtype)
        found = duckdb.sql(f"SELECT heatmap FROM '{store.root}/heatmaps/*.parquet' WHERE image_id = 'b'").fetchall()
        assert found == [(maps_of("a", "b")[1].reshape(-1).tolist(),)]

    def test_duckdb_joins_the_tables(self, store):
        commit(store, 0, "a", "b")
        query = f"""SELECT count(*) FROM '{store.root}/scores/*.parquet' JOIN '{store.root}/heatmaps/*.parquet'
                    USING (image_id, target, method)"""
        assert duckdb.sql(query).fetchall() == [(2,)]

    def test_arrow_alone_reads_the_shape_of_a_map_from_the_file(self, store):
        commit(store, 0, "a")
        read = pq.ParquetFile(f"{store.root}/heatmaps/part-000000.parquet").read()
        assert read.schema.field("heatmap").type.shape == list(SHAPE)
        assert (array(read) == maps_of("a")).all()
