"""`--target`: which classes of an image are explained."""

import re
from dataclasses import dataclass
from typing import Literal, Self

TargetKind = Literal["predicted", "label", "labels", "predicted+label", "top", "class"]
TARGETS = "predicted, label, labels, predicted+label, top-K (as top-5), class:ID (as class:281, or class:281,285)"


@dataclass(frozen=True)
class Target:
    """Which classes of an image are explained.

    Attributes:
        kind: `predicted`, `label` (the one class an image is labelled with), `labels` (every class present),
            `predicted+label` (why this and not that), `top` (the `count` best-scored classes), or `class` (the classes
            in `classes`).
        count: for `top`, how many.
        classes: for `class`, the model's class indices.
    """

    kind: TargetKind
    count: int = 1
    classes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a `--target` value; ValueError says what there is."""
        if text in ("predicted", "label", "labels", "predicted+label"):
            return cls(kind=text)  # type: ignore[arg-type]  # narrowed by the line above
        if match := re.fullmatch(r"top-([1-9]\d{0,4})", text):
            return cls(kind="top", count=int(match[1]))
        if match := re.fullmatch(r"class:(\d{1,6}(?:,\d{1,6})*)", text):
            return cls(kind="class", classes=tuple(dict.fromkeys(int(index) for index in match[1].split(","))))
        raise ValueError(f"no such target; there are: {TARGETS}")

    @property
    def at_most(self) -> int:
        """How many targets an image has at most; of labels, what is common."""
        return {"top": self.count, "class": len(self.classes), "labels": 5, "predicted+label": 2}.get(self.kind, 1)

    @property
    def needs_labels(self) -> bool:
        """Whether the dataset must say which classes an image shows."""
        return self.kind in ("label", "labels", "predicted+label")
