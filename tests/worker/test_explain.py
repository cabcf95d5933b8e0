"""One replica of the model: shards in, committed tables out, whatever memory there is."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from factories import SmallCnn

from igcam_batch import read_failures, read_heatmaps, read_scores
from igcam_batch.attribution import ready
from igcam_batch.attribution.explainer import Explainer, Prediction
from igcam_batch.attribution.kernels import by_torch
from igcam_batch.attribution.split import Split
from igcam_batch.audit.trouble import Trouble
from igcam_batch.config import load_config
from igcam_batch.models import load_model
from igcam_batch.names import METHODS, METRICS
from igcam_batch.sources import manifest_table
from igcam_batch.sources.folder import folder_rows
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import write_plan
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.explain import ShardExplainer, ShardTables
from igcam_batch.worker.read import read_shard

Make = Callable[..., tuple[ShardExplainer, DecodedShard]]


@pytest.fixture
def make(pictures: Callable[..., Path], tmp_path: Path) -> Make:
    """An explainer and a decoded shard of seven pictures: `make(output, batch_size=4)`."""

    def build(output: str = "out", device: str = "cpu", **settings: Any) -> tuple[ShardExplainer, DecodedShard]:
        images = pictures(*(f"{index}.png" for index in range(7)))
        flags = {"input": str(images), "output": str(tmp_path / output), "model": "factories:small_cnn", "steps": 5}
        config = load_config({name: value for name, value in (flags | settings).items() if value is not None})
        manifest = manifest_table(folder_rows(open_store(config.input)))
        decoded = read_shard(Piece(0, 0, 7), manifest, load_model(config).recipe, config.max_pixels)
        write_plan(open_store(config.output), [manifest], "plan")
        return ShardExplainer(config, device, "plan"), decoded

    return build


def keyed(tables: ShardTables) -> dict[tuple[str, int, str], tuple[float, np.ndarray]]:
    """Image, target and method -> the confidence in what the map keeps, and the map."""
    heatmaps = tables.heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()
    rows = zip(tables.scores.to_pylist(), tables.heatmaps.to_pylist(), heatmaps, strict=True)
    found = {}
    for row, other, heatmap in rows:
        key = (row["image_id"], row["target"], row["method"])
        assert key == (other["image_id"], other["target"], other["method"])
        found[key] = (row["masked_confidence"], heatmap)
    return found


NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def memory_for(monkeypatch: pytest.MonkeyPatch, images: int, error: Exception = NO_MEMORY) -> list[int]:
    """Let the model's passes run out of memory above so many images; the sizes that were tried."""
    tried: list[int] = []
    predict = Explainer.predict

    def limited(self: Explainer, batch: torch.Tensor) -> Prediction:
        tried.append(len(batch))
        if len(batch) > images:
            raise error
        return predict(self, batch)

    monkeypatch.setattr(Explainer, "predict", limited)
    return tried


def test_one_thread_does_all_the_arithmetic_whichever_asks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    settled: list[tuple[str, int]] = []
    forward = SmallCnn.forward

    def watched(self: SmallCnn, x: torch.Tensor) -> torch.Tensor:
        seen.add(threading.current_thread().name)
        return forward(self, x)

    def settle(threads: int) -> None:
        settled.append((threading.current_thread().name, threads))

    monkeypatch.setattr(torch, "set_num_threads", settle)
    explainer, decoded = make()
    assert settled == [("device_0", torch.get_num_threads())]  # a new thread has the environment's number, not torch's
    monkeypatch.setattr(SmallCnn, "forward", watched)
    with ThreadPoolExecutor(2) as callers:
        tables = [asked.result() for asked in [callers.submit(explainer.tables, decoded) for _ in range(3)]]
    assert seen == {"device_0"}
    assert all(each.scores.equals(tables[0].scores) for each in tables)


def test_methods_and_targets_together_give_each_row_the_map_it_has_alone(make: Make) -> None:
    """In passes that end amid an image, and with maps of two sizes."""
    methods = ("grad-cam", "integrated-gradients", "layer-cam")
    together, decoded = make("together", method=list(methods), target="top-2", **{"batch-size": 4})
    found = keyed(together.tables(decoded))
    alone = {}
    for method in methods:
        small = 8 if method == "integrated-gradients" else None  # alone, it is stored as large as the input
        explainer, _ = make(method, method=method, target="top-2", **{"batch-size": 4, "map-size": small})
        alone |= keyed(explainer.tables(decoded))
    assert found.keys() == alone.keys()
    assert len(found) == 7 * 2 * 3
    for key, (score, heatmap) in found.items():
        np.testing.assert_allclose(heatmap, alone[key][1], rtol=1e-4, atol=1e-6)
        assert score == pytest.approx(alone[key][0], rel=1e-4)


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make("whole", batch_size=4)
    explainer(decoded)
    explainer, decoded = make("tight", batch_size=4)
    tried = memory_for(monkeypatch, 1)
    outcome = explainer(decoded)
    assert tried == [4, 2, 1, 1, 1, 1, 1, 1, 1]  # the smaller batch stays
    assert (outcome.piece.images, outcome.failed, outcome.rows) == (7, 0, 7)
    whole, tight = (read_scores(str(tmp_path / name)).to_pydict() for name in ("whole", "tight"))
    assert whole["image_id"] == tight["image_id"]
    np.testing.assert_allclose(whole["masked_confidence"], tight["masked_confidence"], rtol=1e-4)


def test_a_batch_that_was_made_smaller_grows_again_shard_by_shard(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, decoded = make(batch_size=4)
    with monkeypatch.context() as tight:
        memory_for(tight, 1)
        explainer.tables(decoded)
    tried = memory_for(monkeypatch, 7)
    for _ in range(3):
        explainer.tables(decoded)
    assert tried == [2, 2, 2, 1, 4, 3, 4, 3]


@pytest.mark.parametrize("said", ["CUDA error: unspecified launch failure", "unable to find an engine to execute"])
def test_where_the_device_is_lost_the_process_ends_whatever_its_libraries_say(
    make: Make, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    class EndedError(BaseException):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    explainer, decoded = make(batch_size=4)
    memory_for(monkeypatch, 0, RuntimeError(said))
    monkeypatch.setattr("igcam_batch.worker.explain.is_lost", lambda _device, _error: True)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(EndedError, match="1"):
        explainer.tables(decoded)


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


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ...",
    ],
)
def test_libraries_that_say_in_words_of_their_own_that_memory_ran_out_are_understood(
    make: Make, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    explainer, decoded = make(batch_size=4)
    tried = memory_for(monkeypatch, 2, RuntimeError(said))
    outcome = explainer(decoded)
    assert (outcome.failed, outcome.rows) == (0, 7)
    assert tried == [4, 2, 2, 2, 1]  # and no image is computed alone for it


def test_where_others_have_the_memory_no_image_is_blamed_and_the_shard_is_tried_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make(batch_size=1)
    memory_for(monkeypatch, 0)
    others = "other processes have 70.0 GiB of the GPU's 80.0 GiB"
    monkeypatch.setattr("igcam_batch.worker.explain.crowd", lambda *_: others)
    monkeypatch.setattr("igcam_batch.worker.explain._BETWEEN_LOOKS", 0)
    with pytest.raises(OSError, match="out of memory, as other processes have") as raised:
        explainer(decoded)
    trouble = Trouble.of(raised.value)
    assert trouble.line == f"cpu: out of memory, as {others}"
    assert trouble.passing
    assert not (tmp_path / "out" / "scores").exists()


def test_a_worker_waits_for_memory_that_others_have_and_goes_on_with_the_batches_it_began_with(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make(batch_size=4)
    memory = pytest.MonkeyPatch()
    tried = memory_for(memory, 0)
    looks = iter(["some have it", "some have it", ""])

    def crowd(*_: object) -> str:
        if not (others := next(looks)):
            memory.undo()
        return others

    monkeypatch.setattr("igcam_batch.worker.explain.crowd", crowd)
    monkeypatch.setattr("igcam_batch.worker.explain._BETWEEN_LOOKS", 0)
    outcome = explainer(decoded)
    assert (outcome.failed, outcome.rows) == (0, 7)
    assert tried == [4, 2, 1]
    assert explainer._explainer.batch_size == 4


def test_a_shard_that_is_committed_is_not_written_again(make: Make, tmp_path: Path) -> None:
    explainer, decoded = make()
    first = explainer(decoded)
    part = tmp_path / "out" / "scores" / "part-000000.parquet"
    before = part.stat().st_mtime_ns
    second = explainer(decoded)
    assert (second.piece, second.failed, second.rows) == (first.piece, first.failed, first.rows)
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-3), ("tf32", 1e-2), ("bf16", 1e-1), ("fp16", 2e-2)])
def test_a_gpu_makes_the_tables_that_a_cpu_makes(make: Make, precision: str, error: float) -> None:
    settings = {"method": ["integrated-grad-cam", "grad-cam++", "score-cam"], "target": "class:0,1", "metric": METRICS}
    on_cpu, decoded = make("cpu", **settings)
    on_gpu, _ = make("gpu", "cuda", precision=precision, **settings)
    expected, found = keyed(on_cpu.tables(decoded)), keyed(on_gpu.tables(decoded))
    assert found.keys() == expected.keys()
    for key, (score, heatmap) in found.items():
        assert np.linalg.norm(heatmap - expected[key][1]) <= error * np.linalg.norm(expected[key][1])
        assert score == pytest.approx(expected[key][0], rel=0.1)  # some pixels more or less are kept


def test_where_a_device_has_a_kernel_convolutions_are_computed_by_it_to_the_same_tables(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": list(METHODS), "metric": ["drop", "increase"], "model": "factories:small_cnn", "steps": 3}
    plain, decoded = make("plain", **settings)
    used = 0

    def kernel(convolution: torch.nn.Conv2d, x: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        nonlocal used
        used += 1
        return by_torch(convolution, x, z)

    monkeypatch.setattr(ready, "kernel_on", lambda _device, _precision: kernel)
    deferring, _ = make("deferring", **settings)
    assert not used  # what follows what is found without it
    found = deferring.tables(decoded)
    assert used
    assert found.scores.equals(plain.tables(decoded).scores)


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
        ShardExplainer(config, "cpu", "plan", sha256="0" * 64)


def test_memory_that_runs_out_in_the_middle_of_a_path_costs_no_image(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, decoded = make("whole", batch_size=4)
    explainer(decoded)
    explainer, decoded = make("tight", batch_size=4)
    run, passes = Split._run, []

    def limited(self: Split, inputs: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        passes.append(len(inputs))
        if len(passes) > 2 and len(inputs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return run(self, inputs, *arguments, **options)

    monkeypatch.setattr(Split, "_run", limited)
    outcome = explainer(decoded)
    assert (outcome.failed, outcome.rows) == (0, 7)
    whole, tight = (read_heatmaps(str(tmp_path / name))["heatmap"].combine_chunks() for name in ("whole", "tight"))
    np.testing.assert_allclose(tight.to_numpy_ndarray(), whole.to_numpy_ndarray(), rtol=1e-3, atol=1e-6)


def test_all_methods_stand_beside_one_another_each_with_what_it_has(make: Make, tmp_path: Path) -> None:
    explainer, decoded = make(method=METHODS, steps=4)
    explainer(decoded)
    rows = read_scores(str(tmp_path / "out")).to_pylist()
    assert [row["method"] for row in rows] == 7 * list(METHODS)
    along_paths = {"integrated-grad-cam", "averaged-grad-cam", "integrated-gradients"}
    assert {row["method"] for row in rows if row["nodes"] == 4} == along_paths
    assert {row["method"] for row in rows if row["nodes"] is None} == set(METHODS) - along_paths
    assert {row["error_estimate"] for row in rows} == {None}
    maps = read_heatmaps(str(tmp_path / "out"))["heatmap"].combine_chunks().to_numpy_ndarray()
    assert maps.shape == (7 * len(METHODS), 8, 8)


def test_a_tolerance_says_for_each_map_how_many_nodes_it_took_and_how_far_off_it_may_be(
    make: Make, tmp_path: Path
) -> None:
    explainer, decoded = make(steps=None, tolerance=0.05, method=("integrated-grad-cam", "grad-cam"))
    explainer(decoded)
    rows = read_scores(str(tmp_path / "out")).to_pylist()
    for row in rows:
        if row["method"] == "grad-cam":
            assert row["nodes"] is None
            assert row["error_estimate"] is None
        else:
            assert row["nodes"] in (5, 9, 17, 33, 65, 129)
            assert 0 <= row["error_estimate"] <= 0.05 or row["nodes"] == 129


@pytest.mark.parametrize(("size", "shape"), [(None, (32, 32)), (10, (10, 10))])
def test_maps_by_pixels_are_stored_as_large_as_the_input_or_as_asked(
    make: Make, tmp_path: Path, size: int | None, shape: tuple[int, int]
) -> None:
    explainer, decoded = make(method="integrated-gradients", map_size=size)
    explainer(decoded)
    maps = read_heatmaps(str(tmp_path / "out"))["heatmap"].combine_chunks().to_numpy_ndarray()
    assert maps.shape == (7, *shape)
    whole, decoded = make("whole", method="integrated-gradients")
    whole(decoded)
    full = read_heatmaps(str(tmp_path / "whole"))["heatmap"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_allclose(maps.mean((1, 2)), full.mean((1, 2)), rtol=0.15)
    scores, of_whole = (read_scores(str(tmp_path / name)) for name in ("out", "whole"))
    assert scores["masked_confidence"] == of_whole["masked_confidence"]  # metrics see the map before it is made smaller


@pytest.mark.parametrize("baseline", [("white",), ("blur:3",), ("0.5,0.4,0.3",), ("black", "white")])
def test_paths_start_where_the_settings_say(make: Make, tmp_path: Path, baseline: tuple[str, ...]) -> None:
    black, decoded = make("black")
    black(decoded)
    explainer, decoded = make(baseline=baseline)
    explainer(decoded)
    maps, from_black = (
        read_heatmaps(str(tmp_path / name))["heatmap"].combine_chunks().to_numpy_ndarray() for name in ("out", "black")
    )
    assert np.abs(maps - from_black).max() > 1e-3
    if baseline == ("black", "white"):
        white, decoded = make("white", baseline="white")
        white(decoded)
        from_white = read_heatmaps(str(tmp_path / "white"))["heatmap"].combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(maps, (from_black + from_white) / 2, rtol=1e-4, atol=1e-6)
