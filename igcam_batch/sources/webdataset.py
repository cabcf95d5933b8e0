"""WebDataset: tar files whose members belong together by name: `0001.jpg`, `0001.cls`, `0001.json`."""

import json
import math
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from igcam_batch.errors import InputError, one_line
from igcam_batch.sources.boxes import NO_AREA, box_of, has_area
from igcam_batch.sources.place import TAR, Place
from igcam_batch.sources.rows import Box, ImageRow, Part, Problem, is_image
from igcam_batch.sources.source import Notes
from igcam_batch.storage import Entry

_SAID = (".cls", ".json")
_APART = "annotations stand apart from an image of their name and are left out"
_LARGEST_TEXT = 1 << 20  # bytes of what a member says of an image


def tar_files(place: Place) -> list[Entry]:
    """The tar file that was named, or every one below the root."""
    if place.file:
        return [place.store.entry(place.file)]
    return [entry for entry in place.store.list() if PurePosixPath(entry.path).suffix.lower() == TAR]


def webdataset_rows(place: Place, notes: Notes) -> Iterator[ImageRow]:
    """Every image in the tars, in their order, with the class of its `.cls` and what its `.json` says.

    Headers are read, and members that are text; images are left where they are, for the shard that explains them.
    Nothing is ever extracted. A `.json` may hold `label`, `labels` and `boxes`, as a manifest's row does.

    Raises:
        InputError: no tar, a damaged one, or one with a member whose path climbs out of it.
    """
    files = tar_files(place)
    if not files:
        raise InputError(f"INPUT {place.store.root}: --layout webdataset needs files named *.tar")
    for file in files:
        uri = place.store.uri(file.path)
        try:
            with place.store.open(file.path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                members = _members(tar, uri)
                for _, together in groupby(members, key=lambda member: _key(member.name)):
                    yield from _samples(tar, list(together), file, uri, notes)
                stream.seek(tar.offset)
                if any(rest := stream.read(tarfile.BLOCKSIZE)) or 0 < len(rest) < tarfile.BLOCKSIZE:
                    raise tarfile.ReadError(f"no member begins at byte {tar.offset}")
        except tarfile.TarError as error:
            raise InputError(f"{uri}: no tar file, or a damaged one: {error}") from None
        except OSError as error:
            raise InputError(f"{uri}: {error.strerror or error}") from None


def _members(tar: tarfile.TarFile, uri: str) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{uri}: member {member.name!r}: its path climbs out of the archive; it is not read")
        # Links are not followed; of a sparse file, what it says of its size is not where its bytes lie.
        if member.isreg() and not member.issparse() and path.name and not path.name.startswith("."):
            yield member


def _key(name: str) -> str:
    """What the members of a sample have in common: all before the first dot of the file's name."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))


def _samples(
    tar: tarfile.TarFile, members: list[tarfile.TarInfo], file: Entry, uri: str, notes: Notes
) -> Iterator[ImageRow]:
    """The images of the members that have a key in common, each with what is said of it."""
    images = [member for member in members if is_image(member.name)]
    plain = [image for image in images if PurePosixPath(image.name).name.count(".") == 1]
    images = plain or images  # beside `1.jpg`, `1.seg.png` is no image of its own
    said = [member for member in members if PurePosixPath(member.name).suffix.lower() in _SAID]
    if not images:
        for member in said:
            notes.add(_APART, f"{uri}: {member.name}")
        return
    for image in images:
        names = (_stem(image.name), _key(image.name))
        of_image = [each for each in said if len(images) == 1 or _stem(each.name) in names]
        yield _row(tar, image, of_image, file, uri, notes)


def _stem(name: str) -> str:
    """All before the last dot: what two members have in common where the names of samples have dots in them."""
    return str(PurePosixPath(name).with_suffix(""))


def _row(
    tar: tarfile.TarFile,
    image: tarfile.TarInfo,
    said: Iterable[tarfile.TarInfo],
    file: Entry,
    uri: str,
    notes: Notes,
) -> ImageRow:
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    problem = None
    for member in said:
        try:
            said_labels, said_boxes = _said(tar, member)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = Problem("annotation", f"{uri}: {member.name}: {one_line(error)}")
            continue
        for box in said_boxes:
            if not has_area(box, math.nan, math.nan):
                sides = ", ".join(f"{side:g}" for side in (box.left, box.top, box.right, box.bottom))
                notes.add(NO_AREA, f"{uri}: {member.name}: '{box.label}' {sides}")
        said_boxes = tuple(box for box in said_boxes if has_area(box, math.nan, math.nan))
        labels, boxes = labels or said_labels, boxes or said_boxes
    return ImageRow(
        image_id=f"{file.path}/{image.name}",
        uri=f"{uri}#{image.name}",
        size=image.size,
        modified=image.mtime,
        labels=labels,
        boxes=boxes,
        part=Part(uri, offset=image.offset_data, size=file.size, modified=file.modified, etag=file.etag),
        problem=problem,
    )


def _said(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    """Labels and boxes of a `.cls` or `.json` member."""
    if member.size > _LARGEST_TEXT:
        raise ValueError(f"{member.size} bytes are more than the {_LARGEST_TEXT} that are read")
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    text = content.read().decode()
    if member.name.lower().endswith(".cls"):
        return (text.strip(),) if text.strip() else (), ()
    said: Any = json.loads(text)
    if not isinstance(said, dict):
        return (), ()
    label = said.get("labels", said.get("label"))
    labels = tuple(str(one) for one in (label if isinstance(label, list) else [label]) if one is not None)
    boxes = tuple(box_of(box) for box in said.get("boxes") or ())
    return labels, boxes
