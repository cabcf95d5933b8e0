"""One replica of the model: shards in, committed tables out, whatever memory there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from igcam_batch import read_failures, read_heatmaps, read_scores
from igcam_batch.attribution.explainer import Explainer, Prediction
from igcam_batch.config import load_config
from igcam_batch.models import load_model
from igcam_batch.sources import image_rows
from igcam_batch.storage import open_store
from igcam_batch.tables import manifest_table
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.read import read_shard

Make = Callable[..., tuple[ShardExplainer, DecodedShard]]


@pytest.fixture
def make(pictures: Callable[..., Path], tmp_path: Path) -> Make:
    """An explainer and a decoded shard of seven pictures: `make(output, batch_size=4)`."""

    def build(output: str = "out", **settings: Any) -> tuple[ShardExplainer, DecodedShard]:
        images = pictures(*(f"{index}.png" for index in range(7)))
        flags = {"input": str(images), "output": str(tmp_path / output), "model": "factories:small_cnn", "steps": 5}
        config = load_config(flags | settings)
        manifest = manifest_table(image_rows(open_store(config.input), "folder"))
        decoded = read_shard(0, manifest, load_model(config).recipe, config.max_pixels)
        return ShardExplainer(config, "cpu"), decoded

    return build


def memory_for(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """Let the model's passes run out of memory above so many images; the sizes that were tried."""
    tried: list[int] = []
    predict = Explainer.predict

    def limited(self: Explainer, batch: torch.Tensor) -> Prediction:
        tried.append(len(batch))
        if len(batch) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return predict(self, batch)

    monkeypatch.setattr(Explainer, "predict", limited)
    return tried


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make("whole", batch_size=4)
    explainer(decoded)
    explainer, decoded = make("tight", batch_size=4)
    tried = memory_for(monkeypatch, 1)
    outcome = explainer(decoded)
    assert tried == [4, 2, 1, 1, 1, 1, 1, 1, 1]  # the smaller batch stays
    assert (outcome.images, outcome.failed, outcome.rows) == (7, 0, 7)
    whole, tight = (read_scores(str(tmp_path / name)).to_pydict() for name in ("whole", "tight"))
    assert whole["image_id"] == tight["image_id"]
    np.testing.assert_allclose(whole["masked_confidence"], tight["masked_confidence"], rtol=1e-4)


def test_an_image_for_which_no_memory_suffices_is_a_failure(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make(batch_size=2)
    memory_for(monkeypatch, 0)
    outcome = explainer(decoded)
    assert (outcome.failed, outcome.rows) == (7, 0)
    failures = read_failures(str(tmp_path / "out")).to_pylist()
    assert {row["stage"] for row in failures} == {"explain"}
    assert "do not fit into the device's memory" in failures[0]["error"]


def test_a_shard_that_is_committed_is_not_written_again(make: Make, tmp_path: Path) -> None:
    explainer, decoded = make()
    first = explainer(decoded)
    part = tmp_path / "out" / "scores" / "part-000000.parquet"
    before = part.stat().st_mtime_ns
    second = explainer(decoded)
    assert (second.images, second.failed, second.rows) == (first.images, first.failed, first.rows)
    assert part.stat().st_mtime_ns == before


def test_scores_are_put_last(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, decoded = make()
    monkeypatch.setattr(
        "igcam_batch.tables.shards.to_parquet", lambda table: fail_on_scores(table) or b"", raising=True
    )

    def fail_on_scores(table: pa.Table) -> None:
        if "ebpg" in table.column_names:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        explainer(decoded)
    assert (tmp_path / "out" / "heatmaps" / "part-000000.parquet").exists()
    assert not (tmp_path / "out" / "scores").exists()


def test_rows_of_scores_and_heatmaps_stand_in_the_same_order(make: Make, tmp_path: Path) -> None:
    explainer, decoded = make(method=("grad-cam", "integrated-grad-cam"), target="top-2", batch_size=3)
    explainer(decoded)
    scores, maps = read_scores(str(tmp_path / "out")), read_heatmaps(str(tmp_path / "out"))
    for name in ("image_id", "target", "method"):
        assert scores[name].to_pylist() == maps[name].to_pylist()
    assert scores["image_id"].to_pylist() == sorted(scores["image_id"].to_pylist())


def test_other_weights_than_the_plan_s_are_refused(make: Make, tmp_path: Path) -> None:
    config = load_config({"input": ".", "output": str(tmp_path), "model": "factories:small_cnn"})
    with pytest.raises(RuntimeError, match="put the same checkpoint on every node"):
        ShardExplainer(config, "cpu", sha256="0" * 64)
