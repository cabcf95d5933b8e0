"""COCO: one JSON file of images, categories and annotations (`instances_*.json`), images in directories beside it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from igcam_batch.errors import InputError
from igcam_batch.sources.boxes import NO_AREA, has_area
from igcam_batch.sources.place import Place
from igcam_batch.sources.rows import Box, ImageRow, Problem, is_image
from igcam_batch.sources.source import Notes, Wanted
from igcam_batch.storage import Store

_INSTANCES = ("annotations/instances_*.json", "instances*.json", "_annotations.coco.json")
_TRIED = 20  # images, before it is said that none of them is there


@checked(slots=True)
class _Image:
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


@checked(slots=True)
class _Category:
    id: int
    name: str


@checked(slots=True)
class _Annotation:
    image_id: int | str
    category_id: int
    bbox: Annotated[tuple[float, float, float, float] | None, BeforeValidator(lambda value: value or None)] = None
    id: int | str | None = None
    iscrowd: int | None = None
    segmentation: Any = None


@checked
class _Instances:
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


_READ = TypeAdapter(_Instances)


@dataclass(frozen=True)
class _File:
    """An instances file, checked, with the annotations of each image."""

    uri: str
    images: list[_Image]
    categories: dict[int, str]
    annotations: dict[int | str, list[_Annotation]]


def instances_files(store: Store) -> list[str]:
    """The instances files of a dataset, where COCO and its exporters put them."""
    below = [entry.path for place in ("annotations", "") for entry in store.list(place, recursive=False)]
    return [path for path in below if any(PurePosixPath(path).match(pattern) for pattern in _INSTANCES)]


def coco_rows(place: Place, wanted: Wanted, notes: Notes) -> Iterator[ImageRow]:
    """Every image of an instances file, with its objects and the classes they are of; COCO's crowds are 'difficult'.

    Raises:
        InputError: no instances file or several, one that is none, one with an id twice, or images that are not there.
    """
    path = place.file or _choose(place.store, wanted.image_set)
    found = _read(place.store, path, notes)
    root = _root_of_images(place.store, path, found)
    there = {entry.path: entry for entry in place.store.list(root.rstrip("/")) if is_image(entry.path)}
    for image in found.images:
        objects = [
            annotation
            for annotation in found.annotations.get(image.id, ())
            if wanted.difficult or not annotation.iscrowd
        ]
        labels = tuple(dict.fromkeys(found.categories[one.category_id] for one in objects))
        boxes = tuple(_boxes(found, image, objects, wanted, notes))
        image_id = root + image.file_name
        row = ImageRow(image_id, place.store.uri(image_id), labels=labels, boxes=boxes)
        if ".." in PurePosixPath(image.file_name).parts or image.file_name.startswith("/"):
            row = replace(row, problem=Problem("read", f"{found.uri}: image {image.id}: its file name climbs out"))
        elif entry := there.get(image_id):
            row = replace(row, size=entry.size, modified=entry.modified, etag=entry.etag)
        yield row


def _choose(store: Store, image_set: str | None) -> str:
    files = instances_files(store)
    if image_set is not None:
        named = [path for path in files if PurePosixPath(path).stem in (image_set, f"instances_{image_set}")]
        if not named:
            raise InputError(f"--image-set {image_set}: {store.root} has no such instances file{_among(files)}")
        return named[0]
    if not files:
        raise InputError(f"INPUT {store.root}: --layout coco needs annotations/instances_NAME.json, or name the file")
    if len(files) > 1:
        raise InputError(f"INPUT {store.root}: has several instances files; --image-set names one{_among(files)}")
    return files[0]


def _among(files: Iterable[str]) -> str:
    names = sorted(PurePosixPath(path).stem.removeprefix("instances_") for path in files)
    return f"; there are: {', '.join(names)}" if names else ""


def _read(store: Store, path: str, notes: Notes) -> _File:
    """Read and check an instances file."""
    uri = store.uri(path)
    try:
        content = _READ.validate_json(store.read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{uri}: not COCO's instances: {where or 'JSON'}: {first['msg']}") from None
    except OSError as error:
        raise InputError(f"{uri}: {error.strerror or error}") from None
    for what, ids in (
        ("images", [image.id for image in content.images]),
        ("categories", [category.id for category in content.categories]),
        ("annotations", [one.id for one in content.annotations if one.id is not None]),
    ):
        if twice := [each for each, count in Counter(ids).items() if count > 1]:
            raise InputError(f"{uri}: {len(twice)} ids of {what} are there twice; the first: {twice[0]}")
    categories = {category.id: category.name for category in content.categories}
    of_image: dict[int | str, list[_Annotation]] = {image.id: [] for image in content.images}
    for number, annotation in enumerate(content.annotations):
        name = f"{uri}: annotation {annotation.id if annotation.id is not None else f'number {number}'}"
        if annotation.image_id not in of_image:
            notes.add("annotations are of images that the file does not have", f"{name}: image {annotation.image_id}")
        elif annotation.category_id not in categories:
            notes.add("annotations have no category and are left out", f"{name}: category {annotation.category_id}")
        else:
            of_image[annotation.image_id].append(annotation)
    return _File(uri, content.images, categories, of_image)


def _boxes(found: _File, image: _Image, objects: Iterable[_Annotation], wanted: Wanted, notes: Notes) -> Iterator[Box]:
    for each in objects:
        if each.bbox is None:
            notes.add("annotations have no bbox and no area", f"{found.uri}: annotation {each.id}")
            continue
        left, top, width, height = each.bbox
        outline = json.dumps(each.segmentation) if wanted.masks and each.segmentation else None
        box = Box(found.categories[each.category_id], left, top, left + width, top + height, outline)
        if has_area(box, image.width or 0, image.height or 0):
            yield box
        else:
            notes.add(
                NO_AREA,
                f"{found.uri}: annotation {each.id} of {image.file_name}: bbox {list(each.bbox)}",
            )


def _root_of_images(store: Store, path: str, found: _File) -> str:
    """The first of the usual directories that has one of the images: '' or a path that ends with '/'."""
    name = PurePosixPath(path).stem.removeprefix("instances_")
    beside = str(PurePosixPath(path).parent)
    tried = dict.fromkeys([f"{name}/", f"images/{name}/", "images/", "" if beside == "." else f"{beside}/", ""])
    first = [image.file_name for image in found.images[:_TRIED]]
    having = [root for root in tried if any(store.exists(root + file) for file in first)]
    if first and not having:
        raise InputError(
            f"{found.uri}: none of its first {len(first)} images is there, as {first[0]}; looked in "
            f"{', '.join(store.uri(root) for root in tried)}"
        )
    return having[0] if having else ""
