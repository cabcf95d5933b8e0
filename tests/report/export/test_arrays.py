"""Maps and scores for NumPy."""

from pathlib import Path

import numpy as np
from finished_runs import finished_run

import igcam_batch
from igcam_batch.report.export import arrays
from igcam_batch.report.export.export import export


def loaded(directory: Path) -> dict[str, np.ndarray]:
    parts = [np.load(path, allow_pickle=False) for path in sorted((directory / "maps").glob("*.npz"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}


def test_arrays_hold_the_rows_of_the_tables_in_their_order(voc_run: str, tmp_path: Path) -> None:
    export(voc_run, str(tmp_path / "out"), "numpy")
    found, scores = loaded(tmp_path / "out"), igcam_batch.read_scores(voc_run)
    maps = igcam_batch.read_heatmaps(voc_run)["heatmap"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(found["heatmaps"], maps)
    assert found["heatmaps"].dtype == np.float32
    for name in ("image_id", "target", "method", "predicted"):
        assert found[name].tolist() == scores[name].to_pylist()
    for name in ("score", "confidence", "masked_confidence", "drop", "increase", "ebpg", "bbox"):
        np.testing.assert_array_equal(found[name], np.array(scores[name].to_pylist(), dtype=np.float32))


def test_what_has_no_value_is_nan(pictures, tmp_path: Path) -> None:
    output = finished_run(pictures("a.png"), tmp_path / "run", target="predicted", heatmap_dtype="float16")
    export(output, str(tmp_path / "out"), "numpy")
    found = loaded(tmp_path / "out")
    assert np.isnan(found["ebpg"]).all()
    assert np.isfinite(found["confidence"]).all()
    assert found["heatmaps"].dtype == np.float16


def test_large_maps_are_cut_into_several_files(voc_run: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(arrays, "_BYTES", 3 * 4 * 20 * 20)
    export(voc_run, str(tmp_path / "out"), "numpy", size=20)
    files = sorted((tmp_path / "out" / "maps").iterdir())
    assert [file.name for file in files] == [f"part-{number:06d}.npz" for number in range(4)]
    assert [len(np.load(file)["target"]) for file in files] == [3, 1, 3, 1]
    maps = igcam_batch.read_heatmaps(voc_run, 20)["heatmap"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(loaded(tmp_path / "out")["heatmaps"], maps)


def test_a_method_or_some_images_alone(voc_run: str, tmp_path: Path) -> None:
    export(voc_run, str(tmp_path / "out"), "numpy", methods=["integrated-grad-cam"], limit=1)
    found = loaded(tmp_path / "out")
    assert found["method"].tolist() == ["integrated-grad-cam"]
