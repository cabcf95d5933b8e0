"""Runs written straight as tables, of maps that a test has made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import written_runs


@dataclass(frozen=True)
class Row:
    """What a test says of a map; `ebpg` None: without boxes."""

    image_id: str
    target: int
    heatmap: np.ndarray
    method: str = "grad-cam"
    name: str | None = None
    ebpg: float | None = None
    predicted: int | None = None
    source: str = "label"
    confidence: float | None = 0.5

    def score(self) -> dict[str, Any]:
        """Its row of the scores."""
        return written_runs.score(
            self.image_id,
            self.target,
            self.method,
            predicted=self.target if self.predicted is None else self.predicted,
            target_name=self.name or f"class-{self.target}",
            target_source=self.source,
            confidence=self.confidence,
            ebpg=self.ebpg,
        )


def write_run(output: Path, rows: Sequence[Row], shard_size: int = 50) -> str:
    """OUTPUT with a commit for every `shard_size` images, in their order."""
    maps = np.stack([row.heatmap for row in rows])
    return written_runs.write_run(output, [row.score() for row in rows], maps, shard_size=shard_size, dtype="float32")


def spot(row: float, column: float, seed: int, side: int = 7, width: float = 0.9) -> np.ndarray:
    """(side, side) float32: a spot at a place in cells, never quite the same, on faint noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    away_y, away_x = generator.normal(0, 0.2, 2)
    peak = np.exp(-((y - row - away_y) ** 2 + (x - column - away_x) ** 2) / (2 * width**2))
    return (peak + 0.03 * generator.random((side, side))).astype(np.float32)


def spots(image_ids: Sequence[str], target: int, row: float, column: float, **of_row: object) -> list[Row]:
    """A row for each image, all with a spot at one place."""
    seeds = (1000 * target + number for number in range(len(image_ids)))
    return [
        Row(name, target, spot(row, column, seed), **of_row)  # type: ignore[arg-type]
        for name, seed in zip(image_ids, seeds, strict=True)
    ]


def anywhere(image_ids: Sequence[str], target: int, side: int = 7, **of_row: object) -> list[Row]:
    """A row for each image, with a spot that lies in a different place each time, as objects do."""
    places = np.random.default_rng(target).uniform(0.1 * side, 0.6 * side, (len(image_ids), 2))
    return [
        Row(name, target, spot(*place, seed=1000 * target + number, side=side), **of_row)  # type: ignore[arg-type]
        for number, (name, place) in enumerate(zip(image_ids, places, strict=True))
    ]


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:03d}.jpg" for number in range(count)]
