"""docs/queries.md: every block runs, and every engine gives the answer that NumPy gives."""

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from datasets import NAMES, as_manifest
from drawings import picture
from finished_runs import METHODS, finished_run

import igcam_batch
from igcam_batch.report.summary import read_summary, write_summary
from igcam_batch.storage import open_store

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
OURS = "integrated-grad-cam"
MOST = 20
"""The longest that an answer with a limit is."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the heading it stands under."""

    heading: str
    language: str
    code: str


def blocks() -> list[Block]:
    found, heading = [], ""
    for title, language, code in re.findall(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        heading = title or heading
        if language:
            found.append(Block(heading, language, code))
    return found


BLOCKS = blocks()


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `audit/`, of more images than a query with a limit gives rows, and a broken one."""
    root = tmp_path_factory.mktemp("queries")
    images = as_manifest(root / "data")
    more = {number: f"pictures/{number}.png" for number in range(len(NAMES) + 1, MOST + 2)}
    for number, name in more.items():
        picture(number).save(images / name)
    (images / "pictures" / "broken.png").write_bytes(b"no image")
    box = {"label": "ant", "left": 0, "top": 0, "right": 60, "bottom": 40}
    rows = [{"uri": name, "labels": ["ant"], "boxes": [box]} for name in more.values()]
    rows += [{"uri": "pictures/broken.png", "labels": ["cat"], "boxes": []}]
    with (images / "manifest.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    write_summary(finished_run(images, root / "audit", shard_size=8))
    return root / "audit"


def rows_of(found: Any) -> list[tuple]:
    """What an engine gave, as plain rows; what has no value is None."""
    if isinstance(found, pa.Table):
        rows = [tuple(row.values()) for row in found.to_pylist()]
    elif hasattr(found, "itertuples"):
        rows = [tuple(row) for row in found.itertuples(index=False)]
    elif hasattr(found, "rows"):
        rows = found.rows()
    else:
        rows = [tuple(row) for row in found]
    plain = ([value.item() if hasattr(value, "item") else value for value in row] for row in rows)
    return [tuple(None if value != value else value for value in row) for row in plain]


def close(found: Any, expected: list[tuple]) -> None:
    rows = rows_of(found)
    assert [len(row) for row in rows] == [len(row) for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for value, other in zip(row, wanted, strict=True):
            assert value == (pytest.approx(other, rel=1e-5, abs=1e-7) if isinstance(other, float) else other)


def mean(values: list[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None], dtype=np.float64))


class Truths:
    """The answers, from plain rows by NumPy; named after the headings."""

    def __init__(self, audit: Path) -> None:
        self.output = str(audit)
        self.scores = igcam_batch.read_scores(self.output).to_pylist()
        self.maps = igcam_batch.read_heatmaps(self.output)["heatmap"].combine_chunks().to_numpy_ndarray()
        self.ours = [row for row in self.scores if row["method"] == OURS]

    def what_each_method_comes_to(self, found: Any) -> None:
        expected = []
        for method in sorted(METHODS):
            rows = [row for row in self.scores if row["method"] == method]
            means = [mean([row[metric] for row in rows]) for metric in ("drop", "increase", "ebpg")]
            expected.append((method, len(rows), *means))
        close(found, expected)

    def the_means_with_their_intervals(self, found: Any) -> None:
        rows = [
            row
            for row in read_summary(self.output).to_pylist()
            if (row["kind"], row["target"], row["metric"]) == ("mean", None, "drop")
        ]
        names = ("method", "metric", "mean", "low", "high", "rows")
        close(found, sorted(tuple(row[name] for name in names) for row in rows))
        for row in rows_of(found):
            assert row[2] == pytest.approx(mean([each["drop"] for each in self.scores if each["method"] == row[0]]))

    def the_20_worst_by_ebpg(self, found: Any) -> None:
        rows = [row for row in self.ours if row["ebpg"] is not None]
        worst = [rows[place] for place in np.argsort([row["ebpg"] for row in rows])[:MOST]]
        close(found, [tuple(row[name] for name in ("image_id", "target_name", "confidence", "ebpg")) for row in worst])

    def drop_by_class(self, found: Any) -> None:
        classes = {row["target_name"] for row in self.ours}
        of = {name: [row["drop"] for row in self.ours if row["target_name"] == name] for name in classes}
        close(found, sorted(((name, len(of[name]), mean(of[name])) for name in classes), key=lambda row: -row[2]))

    def methods_side_by_side(self, found: Any) -> None:
        values = {(row["image_id"], row["target"], row["method"]): row["ebpg"] for row in self.scores}
        keys = sorted({key[:2] for key in values})
        close(found, [(*key, *(values[*key, method] for method in ("grad-cam", OURS))) for key in keys])

    def maps_beside_scores(self, found: Any) -> None:
        pairs = [(row, heat) for row, heat in zip(self.scores, self.maps, strict=True) if row["method"] == OURS]
        pairs.sort(key=lambda pair: pair[0]["confidence"])
        keys = ("image_id", "target", "confidence")
        close(found, [(*(row[name] for name in keys), float(heat.max())) for row, heat in pairs[:10]])

    def the_mean_map_of_a_class(self, found: Any) -> None:
        wanted = [row["target"] == 2 and row["method"] == OURS for row in self.scores]
        assert sum(wanted) == 2
        np.testing.assert_allclose(found, self.maps[wanted].mean(0), rtol=1e-6)

    def maps_in_colour(self, found: Any) -> None:
        assert found == (len(self.ours), 224, 224, 3)

    def what_failed(self, found: Any) -> None:
        [(stage, n, error)] = rows_of(found)
        assert (stage, n) == ("decode", 1)
        assert "not an image" in error

    def from_s3(self, found: Any) -> None:
        close(found, [(m, mean([row["drop"] for row in self.scores if row["method"] == m])) for m in sorted(METHODS)])

    def spark(self, found: Any) -> None:
        assert found == [(method, len(self.ours)) for method in sorted(METHODS)]

    def other_programs(self, found: Any) -> None:
        match found:
            case [tuple() as shape, list() as methods, dtype]:
                assert (len(shape), shape[1:]) == (3, self.maps.shape[1:])
                assert (set(methods), dtype) == (set(METHODS), np.float32)
            case list():
                worst = sorted((row for row in self.ours if row["ebpg"] is not None), key=lambda row: row["ebpg"])
                assert found[0] == worst[0]["image_id"]
            case _:
                assert 0 <= found <= 1


def check(truths: Truths, heading: str) -> Callable[[Any], None]:
    """The truth for a heading; an AttributeError names one that has none."""
    checked: Callable[[Any], None] = getattr(truths, re.sub(r"\W+", "_", heading.lower()))
    return checked


def answer(block: Block, directory: Path) -> Any:
    with contextlib.chdir(directory):
        if block.language == "sql":
            return duckdb.sql(block.code).fetchall()
        names: dict[str, Any] = {}
        exec(compile(block.code, f"{PAGE.name}: {block.heading}", "exec"), names)
        return names["found"]


def named(block: Block) -> str:
    imported = re.findall(r"^(?:import|from) (\w+)", block.code, re.M)
    return f"{block.heading}, {'duckdb' if block.language == 'sql' else imported[-1]}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if "s3://" not in block.code], ids=named)
def test_the_answer_is_numpy_s(audit: Path, tmp_path: Path, block: Block) -> None:
    assert block.language in ("sql", "python")
    for package in ("pyspark", "fiftyone"):
        if f" {package}" in block.code:
            pytest.importorskip(package, reason=f"{package} is not installed with the tests")
    (tmp_path / "audit").symlink_to(audit)
    check(Truths(audit), block.heading)(answer(block, tmp_path))


@pytest.mark.parametrize("block", [block for block in BLOCKS if "s3://" in block.code], ids=named)
@pytest.mark.xdist_group("s3")
def test_the_answer_from_s3_is_too(audit: Path, bucket: str, tmp_path: Path, block: Block) -> None:
    store = open_store(f"s3://{bucket}/audit")
    for path in audit.rglob("*.*"):
        if path.is_file():
            store.write(str(path.relative_to(audit)), path.read_bytes())
    there = Block(block.heading, block.language, block.code.replace("s3://bucket/", f"s3://{bucket}/"))
    check(Truths(audit), block.heading)(answer(there, tmp_path))
    assert os.environ["AWS_ENDPOINT_URL"]


def test_every_engine_is_there_and_every_heading_has_blocks() -> None:
    code = " ".join(block.code for block in BLOCKS)
    for engine in ("polars", "pandas", "pyarrow.dataset", "duckdb", "igcam_batch", "pyspark"):
        assert f"import {engine}" in code or f"from {engine}" in code
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), re.M)
    assert list(dict.fromkeys(block.heading for block in BLOCKS)) == headings
    assert sum(block.language == "sql" for block in BLOCKS) >= 7
