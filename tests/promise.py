"""What every run promises, however disturbed: each image in `scores` or in `failures`, once, and the same values."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import igcam_batch
from igcam_batch.config import AuditConfig
from igcam_batch.models import load_model
from igcam_batch.sources import manifest_table
from igcam_batch.sources.folder import folder_rows
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import write_plan
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.read import read_shard


def explain_undisturbed(config: AuditConfig) -> str:
    """The tables of an audit of a folder, made in this process, without a cluster; returns OUTPUT."""
    manifest = manifest_table(folder_rows(open_store(config.input)))
    write_plan(open_store(config.output), [manifest], "plan")
    explain, recipe = ShardExplainer(config, "cpu", "plan"), load_model(config).recipe
    for shard, start in enumerate(range(0, len(manifest), config.shard_size)):
        stop = min(start + config.shard_size, len(manifest))
        piece = Piece(shard, start, stop)
        explain(read_shard(piece, manifest.slice(start, stop - start), recipe, config.max_pixels))
    return config.output


def tables(output: str | Path) -> tuple[pa.Table, pa.Table, list[str]]:
    """Scores and heatmaps of a run, and which images failed; no image twice."""
    scores, heatmaps = igcam_batch.read_scores(str(output)), igcam_batch.read_heatmaps(str(output))
    failed = igcam_batch.read_failures(str(output))["image_id"].to_pylist()
    scored = scores["image_id"].to_pylist()
    assert heatmaps["image_id"].to_pylist() == scored
    assert len(set(scored)) == len(scored)
    assert len(set(failed)) == len(failed)
    assert not set(scored) & set(failed)
    return scores, heatmaps, failed


def assert_same_but(output: str | Path, undisturbed: str | Path, *lost: str) -> None:
    """Row for row what an undisturbed run gives, but for the images that were lost."""
    scores, heatmaps, failed = tables(output)
    expected_scores, expected_heatmaps, _ = tables(undisturbed)
    kept = pa.array([name not in lost for name in expected_scores["image_id"].to_pylist()], pa.bool_())
    assert scores.schema.equals(expected_scores.schema)
    for field in scores.schema:
        values, expected = (column[field.name].to_pylist() for column in (scores, expected_scores.filter(kept)))
        if pa.types.is_floating(field.type):  # kernels differ in the last bit by where their input lies
            assert values == [None if one is None else pytest.approx(one, rel=1e-4, abs=1e-6) for one in expected]
        else:
            assert values == expected
    maps, expected_maps = maps_of(heatmaps), maps_of(expected_heatmaps)[kept.to_numpy(zero_copy_only=False)]
    assert maps == pytest.approx(expected_maps, rel=1e-4, abs=1e-6)
    assert failed == sorted(lost)


def maps_of(heatmaps: pa.Table) -> np.ndarray:
    """(n, u, v)."""
    maps: np.ndarray = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()
    return maps


def keyed(table: pa.Table) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The rows of scores or heatmaps by image, target and method, each there once."""
    rows = {(row["image_id"], row["target"], row["method"]): row for row in table.to_pylist()}
    assert len(rows) == len(table), "an image × target × method came out twice"
    return rows
