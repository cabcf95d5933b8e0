"""A shard, or a piece of one, between decoding, on a CPU, and explanation, on a GPU."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from igcam_batch.tables import DECODED, FAILURES, Piece, from_ipc, to_ipc


@dataclass(frozen=True)
class DecodedShard:
    """The images of a piece as pixels, and those that could not be read.

    Attributes:
        piece: which images.
        images: one row for each image that was decoded, in the schema DECODED.
        pixels: (n, 3, size, size) uint8, in the order of `images`.
        failures: one row for each other image, in the schema FAILURES.
    """

    piece: Piece
    images: pa.Table
    pixels: np.ndarray
    failures: pa.Table

    def to_row(self) -> dict[str, Any]:
        """As a row of plain values, which any process can carry."""
        return asdict(self.piece) | {
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
        piece = Piece(**{field.name: row[field.name] for field in fields(Piece)})
        return cls(piece, from_ipc(row["images"]), pixels, from_ipc(row["failures"]))

    def repeated(self, times: int) -> Self:
        """The same images so many times."""
        images, pixels = pa.concat_tables([self.images] * times), np.tile(self.pixels, (times, 1, 1, 1))
        return replace(self, images=images, pixels=pixels)

    @classmethod
    def nothing(cls, piece: Piece) -> Self:
        """Of a piece that was not read."""
        return cls(piece, DECODED.empty_table(), np.empty((0, 3, 1, 1), dtype=np.uint8), FAILURES.empty_table())
