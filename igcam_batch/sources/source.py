"""What a layout is asked for, and what it gives back."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from igcam_batch.names import LayoutName
from igcam_batch.words import printable


@dataclass(frozen=True)
class Wanted:
    """What of a dataset is wanted.

    Attributes:
        image_set: a part of it, by the dataset's own name; None: all.
        masks: whether objects are told by their outlines.
        difficult: whether objects count that VOC calls difficult and COCO crowds.
    """

    image_set: str | None = None
    masks: bool = False
    difficult: bool = True


class Notes:
    """What is odd about a dataset and stops nothing: each kind of thing is counted, and the first is kept."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, example: str) -> None:
        """One more `what`, in the plural; `example` names the file and the place."""
        self._count[what] += 1
        self._first.setdefault(what, example)

    def lines(self) -> list[str]:
        """A line for each kind; what a terminal would obey, in the name of a file or a class, is a blank."""
        return [printable(f"{what}: {count:,}; the first: {self._first[what]}") for what, count in self._count.items()]


@dataclass(frozen=True)
class Source:
    """A dataset.

    Attributes:
        layout: the one it has, or was said to have.
        tables: its rows, some at a time, in a stable order; all in one schema, `manifest_schema(...)`.
        notes: complete once `tables` is used up.
    """

    layout: LayoutName
    tables: Iterator[pa.Table]
    notes: Notes = field(default_factory=Notes)
