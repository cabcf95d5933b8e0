"""What became of a piece that was explained."""

from dataclasses import dataclass

from igcam_batch.tables import Piece


@dataclass(frozen=True)
class Outcome:
    """A piece whose tables are committed, or put aside.

    Attributes:
        piece: which images.
        failed: how many of them could not be explained.
        rows: rows of its score table.
        seconds: spent on the device.
        reason: why the first of the failed ones failed; '' where none did, or it was done before.
    """

    piece: Piece
    failed: int
    rows: int
    seconds: float
    reason: str = ""
