"""Whole runs that no audit made: run.json, plan and committed shards, as a test says they should be."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from igcam_batch.images import Recipe
from igcam_batch.sources import Box
from igcam_batch.sources.rows import ImageRow
from igcam_batch.sources.schema import manifest_table
from igcam_batch.storage import open_store
from igcam_batch.tables import FAILURES, SCORES, commit_shard
from igcam_batch.tables.plan import write_plan
from igcam_batch.tables.record import ModelRecord, RunRecord, now, versions, write_record
from igcam_batch.tables.schemas import heatmap_array, heatmaps_schema

METHOD = "integrated-grad-cam"
SIDE = 32


def score(image_id: str, target: int = 0, method: str = METHOD, **values: Any) -> dict[str, Any]:
    """A row of the scores: class 0 is called `class 0`, and was predicted, as the dataset says."""
    row = {"image_id": image_id, "uri": f"/{image_id}", "width": SIDE, "height": SIDE, "predicted": target}
    row |= {"predicted_name": f"class {target}", "target": target, "target_name": f"class {target}"}
    row |= {"target_source": "label", "method": method, "confidence": 0.9, "masked_confidence": 0.5}
    return row | {"drop": 4 / 9, "increase": 0.0} | values


def write_run(
    output: Path | str,
    scores: Sequence[Mapping[str, Any]],
    maps: np.ndarray,
    *,
    images: Path | None = None,
    boxes: Mapping[str, Sequence[Box]] | None = None,
    failures: Mapping[str, str] | None = None,
    remaining: int = 0,
    shard_size: int = 50,
    metrics: Iterable[str] = (),
    dtype: str = "float16",
    sha256: str = "0" * 64,
    **config: Any,
) -> str:
    """Write a run; returns OUTPUT.

    Args:
        output: where.
        scores: rows as `score` makes them, those of an image together.
        maps: (n, u, v), of each row.
        images: the directory that image ids are paths in; None: a place that is not there.
        boxes: of images by id, in their pixels.
        failures: of images by id, what was wrong.
        remaining: images of the plan that no shard has.
        shard_size: images in a shard.
        metrics: columns of further metrics.
        dtype: of the heatmaps.
        sha256: of the model's weights.
        config: of the settings in run.json.
    """
    store = open_store(str(output))
    by_image: dict[str, list[int]] = {}
    for place, row in enumerate(scores):
        by_image.setdefault(row["image_id"], []).append(place)
    failures = failures or {}
    order = [*by_image, *failures]
    root = images or Path("/nowhere")
    planned = [*order, *(f"later-{number}.png" for number in range(remaining))]
    rows = [ImageRow(name, str(root / name), boxes=tuple((boxes or {}).get(name, ()))) for name in planned]
    write_plan(store, [manifest_table(rows)])
    score_schema = pa.schema([*SCORES, *(pa.field(name, pa.float32()) for name in metrics)])
    map_schema = heatmaps_schema((maps.shape[1], maps.shape[2]), dtype)
    numbers = range(0, len(order), shard_size)
    for shard, start in enumerate(numbers):
        some = order[start : start + shard_size]
        places = [place for name in some for place in by_image.get(name, ())]
        table = pa.Table.from_pylist([dict(scores[place]) for place in places], schema=score_schema)
        keys = [table[name] for name in ("image_id", "target", "method")]
        heatmaps = pa.Table.from_arrays([*keys, heatmap_array(maps[places], dtype)], schema=map_schema)
        failed = [
            {"image_id": name, "uri": f"/{name}", "stage": "decode", "error": failures[name], "attempts": 1}
            for name in some
            if name in failures
        ]
        commit_shard(store, shard, table, heatmaps, pa.Table.from_pylist(failed, schema=FAILURES), len(some))
    methods = list(dict.fromkeys(row["method"] for row in scores)) or [METHOD]
    settings = {"input": str(root), "layout": "folder", "model": "factories:small_cnn", "weights": "DEFAULT"}
    settings |= {"layer": None, "method": methods, "steps": 50, "rule": "riemann", "score": "logit"}
    settings |= {"target": "label", "max-pixels": 100_000_000, "tolerance": None}
    write_record(
        store,
        RunRecord(
            state="running" if remaining else "finished",
            config=settings | {name.replace("_", "-"): value for name, value in config.items()},
            model=ModelRecord(
                sha256=sha256,
                layer="features",
                map_shape=(maps.shape[1], maps.shape[2]),
                recipe=Recipe(size=SIDE, resize="stretch", resize_size=SIDE),
                classes=5,
            ),
            plan="plan",
            images=len(planned),
            shard_size=shard_size,
            shards=len(numbers),
            layout="folder",
            started=now(),
            versions=versions(),
        ),
    )
    return str(output)


def blob(row: float, column: float, cells: int = 7, width: float = 1.0) -> np.ndarray:
    """(cells, cells): a round map around a place, in cells."""
    y, x = np.mgrid[:cells, :cells]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
