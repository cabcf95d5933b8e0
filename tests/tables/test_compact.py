"""`compact`: the tables of a finished run in few files, and nothing of the run itself changed."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from igcam_batch import read_heatmaps, read_scores
from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore
from igcam_batch.tables import commit_shard, heatmap_array, heatmaps_schema
from igcam_batch.tables.compact import compact
from igcam_batch.tables.schemas import FAILURES, SCORES

SHARDS, ROWS = 30, 50


def committed(store: LocalStore, shard: int, failed: int) -> None:
    ids = [f"{shard:03}/{row:03}.jpg" for row in range(ROWS)]
    nothing = {field.name: None for field in SCORES if field.nullable}
    keys = {"predicted": shard, "target": shard, "target_source": "predicted", "method": "grad-cam"}
    scores = [nothing | keys | {"image_id": name, "uri": f"s3://b/{name}", "score": float(shard)} for name in ids]
    maps = np.random.default_rng(shard).random((ROWS, 7, 7), dtype=np.float32)
    heatmaps = pa.Table.from_arrays(
        [ids, [shard] * ROWS, ["grad-cam"] * ROWS, heatmap_array(maps, "float32")],
        schema=heatmaps_schema((7, 7), "float32"),
    )
    failure = {"uri": "s3://b/x", "stage": "decode", "error": "broken", "attempts": 1}
    failures = [failure | {"image_id": f"{shard:03}/x{number}"} for number in range(failed)]
    commit_shard(
        store,
        shard,
        pa.Table.from_pylist(scores, schema=SCORES),
        heatmaps,
        pa.Table.from_pylist(failures, schema=FAILURES),
        ROWS + failed,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store = LocalStore(str(tmp_path))
    for shard in range(SHARDS):
        committed(store, shard, failed=2 if shard % 10 == 3 else 0)
    record("finished", tmp_path)
    return tmp_path


def record(state: str, output: Path) -> None:
    recipe = {"size": 224, "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}
    model = {"sha256": "0" * 64, "layer": "layer4", "map_shape": [7, 7], "recipe": recipe, "classes": 10}
    some = {"state": state, "config": {}, "model": model, "plan": "plan/x", "images": SHARDS * ROWS}
    (output / "run.json").write_text(json.dumps(some | {"shard_size": ROWS, "shards": SHARDS, "started": ""}))


def test_the_same_rows_lie_in_fewer_files_in_the_same_order_and_the_shards_stay(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*.parquet")}
    found = compact(str(run))
    assert {name: (table.files, table.rows) for name, table in found.items()} == {
        "scores": (1, SHARDS * ROWS),
        "heatmaps": (1, SHARDS * ROWS),
        "failures": (1, 6),
    }
    assert pq.read_table(run / "compact/scores").equals(read_scores(str(run)))
    assert pq.read_table(run / "compact/heatmaps").equals(read_heatmaps(str(run)))
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((run / "compact/compact.json").read_text())["scores"]["rows"] == SHARDS * ROWS


def test_a_file_ends_at_the_size_that_is_asked_for_and_no_row_is_lost_between_files(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("igcam_batch.tables.compact._ROWS_PER_GROUP", 2 * ROWS)
    found = compact(str(run), file_size=50_000)
    sizes = [path.stat().st_size for path in sorted((run / "compact/heatmaps").iterdir())]
    assert found["heatmaps"].files == len(sizes) > 3
    assert min(sizes[:-1]) >= 50_000
    assert sum(sizes) == found["heatmaps"].bytes
    assert pq.read_table(run / "compact/heatmaps").equals(read_heatmaps(str(run)))


def test_large_maps_end_a_row_group_by_their_bytes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igcam_batch.tables.compact._BYTES_PER_GROUP", 4 * ROWS * 7 * 7 * 4)
    compact(str(run))
    written = pq.ParquetFile(run / "compact/heatmaps/part-00000.parquet").metadata
    assert written.num_row_groups > SHARDS / 4 - 1
    assert written.num_rows == SHARDS * ROWS


def test_it_may_be_done_again_and_leaves_no_file_of_the_first_time(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igcam_batch.tables.compact._ROWS_PER_GROUP", ROWS)
    assert compact(str(run), file_size=1)["scores"].files == SHARDS
    compact(str(run))
    assert len(list((run / "compact/scores").iterdir())) == 1
    query = f"SELECT count(*), count(DISTINCT image_id) FROM '{run}/compact/scores/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(SHARDS * ROWS, SHARDS * ROWS)]


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_run_that_is_not_finished_is_refused(run: Path, state: str) -> None:
    record(state, run)
    with pytest.raises(InputError, match=rf"not finished \({state}\); the same audit again goes on"):
        compact(str(run))
    assert not (run / "compact").exists()


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audit"):
        compact(str(tmp_path))
