"""What metrics are called where people read them, and what they say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """A metric in words.

    Attributes:
        column: of the score table.
        short: its name.
        better: which values are: 'higher', 'lower', or '' where neither is.
        meaning: in a sentence.
        by_confidence: whether it is measured by the confidence of the model itself, and so is no measure of two models.
    """

    column: str
    short: str
    better: str
    meaning: str
    by_confidence: bool = False

    @property
    def heading(self) -> str:
        """The name with an arrow towards the better values."""
        return f"{self.short} {_ARROWS[self.better]}".strip()


_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_WORDINGS = (
    Wording("ebpg", "EBPG", "higher", "Energy-based pointing game: the share of the map that lies inside the boxes."),
    Wording(
        "bbox",
        "Bbox",
        "higher",
        "The share of the map's highest pixels, as many as the boxes have, that lie inside the boxes.",
    ),
    Wording(
        "drop",
        "Drop",
        "lower",
        "The share of the confidence that is lost when the map's highest pixels alone are kept; 0 where it rises.",
        by_confidence=True,
    ),
    Wording("increase", "Increase", "higher", "How often the confidence rises by that.", by_confidence=True),
    Wording("pointing_game", "Pointing game", "higher", "How often the map's highest pixel hits an object, or nearly."),
    Wording(
        "insertion",
        "Insertion",
        "higher",
        "The mean confidence while pixels are put in, the map's highest first.",
        by_confidence=True,
    ),
    Wording(
        "deletion",
        "Deletion",
        "lower",
        "The mean confidence while pixels are taken away, the highest first.",
        by_confidence=True,
    ),
    Wording(
        "average_gain",
        "Average gain",
        "higher",
        "The share of the confidence that was missing which is gained by that; 0 where it falls.",
        by_confidence=True,
    ),
    Wording(
        "sparsity",
        "Sparsity",
        "",
        "The Gini index of the map: 0 where all pixels are alike.",
    ),
    Wording(
        "sensitivity",
        "Sensitivity",
        "lower",
        "How much the map changes, of itself, when the image is shifted.",
    ),
)
WORDINGS = {wording.column: wording for wording in _WORDINGS}
"""By column."""
