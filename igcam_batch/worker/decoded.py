"""A shard between decoding, on a CPU, and explanation, on a GPU."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from igcam_batch.tables import from_ipc, to_ipc


@dataclass(frozen=True)
class DecodedShard:
    """The images of a shard as pixels, and those that could not be read.

    Attributes:
        shard: its number in the plan.
        images: one row for each image that was decoded, in the schema DECODED.
        pixels: (n, 3, size, size) uint8, in the order of `images`.
        failures: one row for each other image, in the schema FAILURES.
    """

    shard: int
    images: pa.Table
    pixels: np.ndarray
    failures: pa.Table

    def to_row(self) -> dict[str, Any]:
        """As a row of plain values, which any process can carry."""
        return {
            "shard": self.shard,
            "images": to_ipc(self.images),
            "failures": to_ipc(self.failures),
            "size": self.pixels.shape[-1],
            "pixels": self.pixels.tobytes(),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """From what `to_row` gave."""
        size = int(row["size"])
        pixels = np.frombuffer(row["pixels"], dtype=np.uint8).reshape(-1, 3, size, size)
        return cls(int(row["shard"]), from_ipc(row["images"]), pixels, from_ipc(row["failures"]))
