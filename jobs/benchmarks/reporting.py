"""`report`: what the pages over a run take, in time, memory and size, by rows and classes."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks.goals import Goal
from benchmarks.sheet import console, machine, said, show, write_json
from igcam_batch.images import Recipe
from igcam_batch.names import PAPER_METRICS
from igcam_batch.sources.rows import ImageRow
from igcam_batch.sources.schema import manifest_table
from igcam_batch.storage import LocalStore, Store
from igcam_batch.tables import FAILURES, SCORES, commit_shard, heatmap_array, heatmaps_schema
from igcam_batch.tables.plan import write_plan
from igcam_batch.tables.record import ModelRecord, RunRecord, now, versions, write_record

_SHARD, _SIDE, _CELLS, _MIB = 1000, 224, 7, 2**20
_METHOD = "integrated-grad-cam"
_PAGE = """
import sys, time
from igcam_batch.report.{module} import {function}
import sklearn.cluster
def peak():  # of this program; ru_maxrss begins with that of the parent
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before, began = peak(), time.perf_counter()
{function}(*sys.argv[1:])
print(time.perf_counter() - began, (peak() - before) * 1024)
"""
_REPORT = _PAGE.format(module="html.page", function="write_report")
_COMPARE = _PAGE.format(module="compare.compare", function="compare")


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1))
@click.option(
    "--classes", multiple=True, default=(10, 100, 1000), show_default=True, help="repeatable", type=click.IntRange(1)
)
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the figures there too")
def report(rows: int, classes: tuple[int, ...], file: str | None) -> None:
    """Write the report of a run of so many rows, and its comparison with another, for so many classes.

    Maps are blobs on 7 x 7 cells, so that there are groups to find; the images themselves are not there. The targets
    are for a hundred thousand rows.
    """
    measured_on = machine()
    console.print(f"{said(measured_on)}; {rows} rows of {_CELLS} x {_CELLS} maps\n")
    found: list[dict[str, Any]] = []
    for count in classes:
        with tempfile.TemporaryDirectory(prefix="igcam-report-") as directory:
            a, b, pages = (Path(directory) / name for name in ("a", "b", "pages"))
            for seed, output in enumerate((a, b)):
                _write_run(output, rows, count, seed)
            found.append({"page": "report", "classes": count} | _measured(_REPORT, a / "report.html", a))
            found.append(
                {"page": "compare", "classes": count} | _measured(_COMPARE, pages / "comparison.html", a, b, pages)
            )
    show(
        "pages",
        ["", "classes", "seconds", "MiB beyond the libraries", "MiB of page"],
        [
            [
                str(one["page"]),
                str(one["classes"]),
                f"{one['seconds']:.1f}",
                f"{one['peak'] / _MIB:.0f}",
                f"{one['bytes'] / _MIB:.2f}",
            ]
            for one in found
        ],
    )
    goals = [
        Goal.at_most("seconds, the slowest", 120, max(one["seconds"] for one in found)),
        Goal.at_most("MiB of a page, the largest", 4, max(one["bytes"] for one in found) / _MIB),
    ]
    show("targets", ["", "wanted", "measured", ""], [goal.row for goal in goals])
    figures = {"machine": measured_on, "rows": rows, "pages": found}
    write_json(file, figures | {"targets": [goal.figures for goal in goals]})


def _measured(code: str, page: Path, *arguments: Path) -> dict[str, float]:
    """Seconds, bytes of memory beyond what imports take, and bytes of the page, of a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"seconds": float(seconds), "peak": float(peak), "bytes": page.stat().st_size}


def _write_run(output: Path, rows: int, classes: int, seed: int) -> None:
    """A finished run: an image for each row, classes in turn."""
    store, generator = LocalStore(str(output)), np.random.default_rng(seed)
    ids = [f"{number % classes:04d}/{number:08d}.jpg" for number in range(rows)]
    write_plan(store, [manifest_table([ImageRow(name, name) for name in ids])])
    shards = range(0, rows, _SHARD)
    for shard, start in enumerate(shards):
        some = ids[start : start + _SHARD]
        _write_shard(store, shard, some, np.arange(start, start + len(some)) % classes, generator)
    settings: dict[str, Any] = {
        "input": "/nowhere",
        "layout": "folder",
        "model": "torchvision:resnet50",
        "weights": "DEFAULT",
    }
    settings |= {"method": [_METHOD], "steps": 50, "rule": "riemann", "score": "logit", "target": "label"}
    model = ModelRecord(
        sha256="0" * 64, layer="layer4", map_shape=(_CELLS, _CELLS), recipe=Recipe(size=_SIDE), classes=classes
    )
    record = RunRecord(
        state="finished",
        config=settings | {"layer": None, "max-pixels": 10**8, "tolerance": None},
        model=model,
        plan="plan",
        images=rows,
        shard_size=_SHARD,
        shards=len(shards),
        layout="folder",
        started=now(),
        versions=versions(),
    )
    write_record(store, record)


def _write_shard(store: Store, shard: int, ids: list[str], targets: np.ndarray, generator: np.random.Generator) -> None:
    names = [f"class {target}" for target in targets]
    values: dict[str, Any] = {
        "image_id": ids,
        "uri": ids,
        "predicted": targets,
        "predicted_name": names,
        "target": targets,
    }
    values |= {"target_name": names, "target_source": ["label"] * len(ids), "method": [_METHOD] * len(ids)}
    for name in ("confidence", *PAPER_METRICS):
        values[name] = generator.random(len(ids), dtype=np.float32)
    columns = [
        pa.array(values[each.name], each.type) if each.name in values else pa.nulls(len(ids), each.type)
        for each in SCORES
    ]
    scores = pa.Table.from_arrays(columns, schema=SCORES)
    y, x = np.mgrid[:_CELLS, :_CELLS]
    places = generator.choice([1.0, 3.0, 5.0], (len(ids), 2)) + generator.normal(0, 0.3, (len(ids), 2))
    away = (y - places[:, 0, None, None]) ** 2 + (x - places[:, 1, None, None]) ** 2
    keys = [scores[name] for name in ("image_id", "target", "method")]
    maps = heatmap_array(np.exp(-away / 3), "float32")
    heatmaps = pa.Table.from_arrays([*keys, maps], schema=heatmaps_schema((_CELLS, _CELLS), "float32"))
    commit_shard(store, shard, scores, heatmaps, FAILURES.empty_table(), len(ids))
