"""The images behind a run's rows, fetched from where they still are: as the model saw them, with their boxes."""

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from igcam_batch.errors import InputError
from igcam_batch.images import DecodeError, decode
from igcam_batch.sources import SIDES, boundary, find_place
from igcam_batch.sources.fetch import fetch
from igcam_batch.sources.rows import Box
from igcam_batch.storage import PlaceError, open_store
from igcam_batch.tables.plan import find_in_plan, read_plan
from igcam_batch.tables.record import run_in

PlannedRow = Mapping[str, Any]
"""An image's row of the plan, as `sources.schema.MANIFEST` has it."""


@dataclass(frozen=True)
class Original:
    """An image as the model saw it.

    Attributes:
        pixels: (size, size, 3) uint8, R, G, B.
        boxes: the dataset's objects, in pixels of `pixels`; one that was cropped away has no area.
        width, height: of the image as displayed, before the recipe.
    """

    pixels: np.ndarray
    boxes: tuple[Box, ...]
    width: int
    height: int


@dataclass(frozen=True)
class _Place:
    """INPUT: what nothing is read outside of, or that it is not where it was."""

    within: str | None
    missing: OSError | None


class Originals:
    """The images of a run.

    Args:
        output: OUTPUT of an audit, finished or not.

    Attributes:
        record: its run.json.
        recipe: how its images became the model's input.

    Raises:
        InputError: `output` holds no audit.
    """

    def __init__(self, output: str) -> None:
        self._store = open_store(output)
        self.record = run_in(self._store)
        self.recipe = self.record.model.recipe
        self._place: _Place | None = None

    def of_shard(self, shard: int) -> dict[str, PlannedRow]:
        """The planned rows of a shard, by image id, in their order."""
        return self.first(self.record.shard_size, shard * self.record.shard_size)

    def first(self, images: int, start: int = 0) -> dict[str, PlannedRow]:
        """The planned rows of up to so many images from `start` on, by image id, in their order."""
        stop = min(start + images, self.record.images)
        return {row["image_id"]: row for row in read_plan(self._store, start, stop, self.record.plan).to_pylist()}

    def find(self, image_ids: Collection[str]) -> dict[str, PlannedRow]:
        """The planned rows of some images, by image id; holds theirs in memory, and no others."""
        return dict(find_in_plan(self._store, image_ids, self.record.images, self.record.plan))

    def load(self, rows: Iterable[PlannedRow]) -> Iterator[tuple[PlannedRow, Original | OSError | DecodeError]]:
        """Each row with its image, or with why it cannot be had; in the order of the rows, a few in memory at a time.

        A file that was changed since the audit was planned is refused: it is not what was explained.
        """
        for row, data in self.fetch(rows):
            yield row, self._original(row, data)

    def fetch(self, rows: Iterable[PlannedRow]) -> Iterator[tuple[PlannedRow, bytes | OSError]]:
        """Each row with the bytes of its file as they are, or with why they cannot be had; as `load`."""
        asked = [dict(row) for row in rows]
        self._place = self._place or self._find()
        if self._place.missing is not None:
            yield from ((row, self._place.missing) for row in asked)
        else:
            given = 0
            try:
                for found in fetch(asked, self._place.within):
                    yield found
                    given += 1
            except PlaceError as error:  # which is why the others cannot be had, either
                yield from ((row, error) for row in asked[given:])

    def _find(self) -> "_Place":
        config = self.record.config
        try:
            place = find_place(config["input"], follow_links=config.get("follow-links", False))
        except InputError as error:
            return _Place(None, FileNotFoundError(errno.ENOENT, str(error), config["input"]))
        return _Place(boundary(place, self.record.layout), None)

    def _original(self, row: PlannedRow, data: bytes | OSError) -> Original | OSError | DecodeError:
        if isinstance(data, OSError):
            return data
        try:
            image = decode(data, self.record.config["max-pixels"])
            pixels = self.recipe.pixels(image).transpose(1, 2, 0)
        except DecodeError as error:
            return error
        boxes = (self._carried(box, image.size) for box in row["boxes"] or ())
        return Original(pixels, tuple(boxes), image.width, image.height)

    def _carried(self, box: Mapping[str, Any], image_size: tuple[int, int]) -> Box:
        return Box(box["label"], *self.recipe.box([box[side] for side in SIDES], image_size))
