"""WebDataset: tar files whose members belong together by name: `0001.jpg`, `0001.cls`, `0001.json`."""

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from igcam_batch.errors import InputError
from igcam_batch.sources.boxes import box_of
from igcam_batch.sources.place import TAR, Place
from igcam_batch.sources.rows import Box, ImageRow, Part, Problem, is_image
from igcam_batch.storage import Store

_SAID = (".cls", ".json")
_LARGEST_TEXT = 1 << 20  # bytes of what a member says of an image


def tar_files(store: Store) -> list[str]:
    """Every tar file below the root."""
    return [entry.path for entry in store.list() if PurePosixPath(entry.path).suffix.lower() == TAR]


def webdataset_rows(place: Place) -> Iterator[ImageRow]:
    """Every image in the tars, in their order, with the class of its `.cls` and what its `.json` says.

    Headers are read, and members that are text; images are left where they are, for the shard that explains them.
    Nothing is ever extracted. A `.json` may hold `label`, `labels` and `boxes`, as a manifest's row does.

    Raises:
        InputError: no tar, a damaged one, or one with a member whose path climbs out of it.
    """
    files = [place.file] if place.file else tar_files(place.store)
    if not files:
        raise InputError(f"INPUT {place.store.root}: --layout webdataset needs files named *.tar")
    for file in files:
        uri = place.store.uri(file)
        try:
            with place.store.open(file) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                members = _members(tar, uri)
                for _, together in groupby(members, key=lambda member: _key(member.name)):
                    yield from _samples(tar, list(together), file, uri)
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
        if member.isreg() and not member.issparse() and not path.name.startswith("."):
            yield member


def _key(name: str) -> str:
    """What the members of a sample have in common: all before the first dot of the file's name."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))


def _samples(tar: tarfile.TarFile, members: list[tarfile.TarInfo], file: str, uri: str) -> Iterator[ImageRow]:
    images = [member for member in members if is_image(member.name)]
    if not images:
        return
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    problem = None
    for member in members:
        if PurePosixPath(member.name).suffix.lower() in _SAID:
            try:
                said_labels, said_boxes = _said(tar, member)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                problem = Problem("annotation", f"{uri}: {member.name}: {' '.join(str(error).split())}")
                continue
            labels, boxes = labels or said_labels, boxes or said_boxes
    for image in images:
        yield ImageRow(
            image_id=f"{file}/{image.name}",
            uri=f"{uri}#{image.name}",
            size=image.size,
            modified=image.mtime,
            labels=labels,
            boxes=boxes,
            part=Part(uri, offset=image.offset_data),
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
    labels = () if label is None else tuple(map(str, label if isinstance(label, list) else [label]))
    boxes = tuple(box_of(box) for box in said.get("boxes") or ())
    return labels, boxes
