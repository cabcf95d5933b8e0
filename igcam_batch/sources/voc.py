"""Pascal VOC: images in `JPEGImages/`, one XML file of objects for each in `Annotations/`, in each year's directory."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from igcam_batch.errors import InputError
from igcam_batch.sources.boxes import NO_AREA, has_area
from igcam_batch.sources.folder import images_in
from igcam_batch.sources.rows import Box, ImageRow, Problem, image_row
from igcam_batch.sources.source import Notes, Wanted
from igcam_batch.storage import Store

IMAGES, ANNOTATIONS, MASKS, SETS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main"
_YEARS = range(2005, 2013)
_YEAR = re.compile(r"/VOC(\d{4})$")
_SET = re.compile(r"(?:(\d{4})/)?([\w.\-]+)")
_XML = ".xml"
_ABSENT = "-1"  # beside an image in the set of a class, as cat_test: it shows none


@dataclass(frozen=True)
class Annotation:
    """What the XML file of an image says.

    Attributes:
        labels: names of the classes it shows, each once, in the order of its objects.
        boxes: its objects that have an area in the image.
    """

    labels: tuple[str, ...]
    boxes: tuple[Box, ...]


def years(store: Store) -> list[str]:
    """The directories that hold VOC's: the root itself (''), or those of its years, as 'VOC2007/'."""
    of_years = [f"{devkit}VOC{year}/" for devkit in ("", "VOCdevkit/") for year in _YEARS]
    return [root for root in ("", *of_years) if all(_holds(store, root + name) for name in (IMAGES, ANNOTATIONS))]


def voc_rows(store: Store, wanted: Wanted, notes: Notes) -> Iterator[ImageRow]:
    """Every image of the image set, or of `JPEGImages/`, with the objects and classes of its annotation.

    Raises:
        InputError: no VOC dataset, or it has no such image set.
    """
    found = years(store)
    if not found:
        raise InputError(f"INPUT {store.root}: --layout voc needs {IMAGES}/ and {ANNOTATIONS}/, here or in VOC2007/")
    for root, name in _parts(store, found, wanted.image_set):
        rows = _listed(store, root, notes) if name is None else _of_set(store, root, name)
        annotated = {
            PurePosixPath(entry.path).stem: entry.path
            for entry in store.list(root + ANNOTATIONS)
            if PurePosixPath(entry.path).suffix.lower() == _XML
        }
        masked = {PurePosixPath(entry.path).stem for entry in store.list(root + MASKS)} if wanted.masks else set()
        seen = set()
        for row in rows:
            stem = PurePosixPath(row.image_id).stem
            seen.add(stem)
            if ".." in PurePosixPath(row.image_id).parts:
                yield replace(row, problem=Problem("read", f"{root}{SETS}/{name}.txt: {row.image_id} climbs out"))
                continue
            if stem in masked:
                row = replace(row, mask_uri=store.uri(f"{root}{MASKS}/{stem}.png"))
            if stem in annotated:
                yield _annotated(row, store, annotated[stem], wanted, notes)
            else:
                notes.add("images have no annotation", row.uri)
                yield row
        if name is None:
            for stem in sorted(annotated.keys() - seen):
                notes.add(f"annotations have no image in {IMAGES}/", store.uri(annotated[stem]))


def read_annotation(store: Store, path: str, wanted: Wanted, notes: Notes) -> Annotation:
    """Read an annotation; ValueError in one line where it is none.

    The XML is parsed without document types and entities, so that a hostile one neither grows nor fetches anything.
    """
    try:
        root = fromstring(store.read(path), forbid_dtd=True)
        objects = [_object(element) for element in root.iter("object")]
        size = tuple(_number(root, f"size/{side}") for side in ("width", "height"))
    except (ParseError, DefusedXmlException) as error:
        raise ValueError(f"not well-formed, harmless XML: {error}") from None
    except LookupError as error:  # an encoding that Python does not know
        raise ValueError(str(error)) from None
    kept = [box for box, difficult in objects if wanted.difficult or not difficult]
    for box in kept:
        if not has_area(box, *size):
            sides = ", ".join(f"{side:g}" for side in (box.left + 1, box.top + 1, box.right, box.bottom))
            notes.add(
                NO_AREA,
                f"{store.uri(path)}: object '{box.label}': bndbox {sides}",
            )
    labels = tuple(dict.fromkeys(box.label for box in kept))
    return Annotation(labels, tuple(box for box in kept if has_area(box, *size)))


def _parts(store: Store, found: list[str], image_set: str | None) -> Iterator[tuple[str, str | None]]:
    """(directory, image set) of each part that is wanted; None: every image there is."""
    if image_set is None:
        for root in found:
            yield root, None
        return
    match = _SET.fullmatch(image_set)
    if match is None:
        raise InputError(f"--image-set {image_set}: of VOC it is NAME or YEAR/NAME, as test or 2007/test")
    year, name = match.groups()
    having = [root for root in found if store.exists(f"{root}{SETS}/{name}.txt")]
    chosen = [root for root in having if year is None or _year(store, root) in (year, None)]
    if not chosen:
        sets = sorted(PurePosixPath(entry.path).stem for root in found for entry in store.list(root + SETS))
        there = [one for one in dict.fromkeys(sets) if "_" not in one] or sets
        raise InputError(
            f"--image-set {image_set}: {store.root} has no such image set in {SETS}/; there are: "
            f"{', '.join(there) or 'none'}"
        )
    if len(chosen) > 1:
        several = ", ".join(f"{root.rstrip('/')[-4:]}/{name}" for root in chosen)
        raise InputError(f"--image-set {image_set}: several years have it; name one of {several}")
    yield chosen[0], name


def _year(store: Store, root: str) -> str | None:
    """The year that a directory's name says it is of; None: it does not say."""
    match = _YEAR.search(f"{store.root.rstrip('/')}/{root}".rstrip("/"))
    return match[1] if match else None


def _listed(store: Store, root: str, notes: Notes | None = None) -> Iterator[ImageRow]:
    return (image_row(store, entry) for entry in images_in(store, root + IMAGES, notes))


def _of_set(store: Store, root: str, name: str) -> Iterator[ImageRow]:
    """The images that an image set names, in its order, whether they are there or not."""
    there = {PurePosixPath(row.image_id).stem: row for row in _listed(store, root)}
    for line in store.read(f"{root}{SETS}/{name}.txt").decode(errors="replace").splitlines():
        stem, *flag = line.split() or [""]
        if stem and flag != [_ABSENT]:
            path = f"{root}{IMAGES}/{stem}.jpg"
            yield there.get(stem) or ImageRow(path, store.uri(path))


def _annotated(row: ImageRow, store: Store, path: str, wanted: Wanted, notes: Notes) -> ImageRow:
    try:
        annotation = read_annotation(store, path, wanted, notes)
    except (ValueError, OSError) as error:
        return replace(row, problem=Problem("annotation", f"{store.uri(path)}: {error}"))
    return replace(row, labels=annotation.labels, boxes=annotation.boxes)


def _object(element: Element) -> tuple[Box, bool]:
    """An <object>, and whether it is called difficult; VOC counts pixels from 1 and includes the last."""
    label = (element.findtext("name") or "").strip()
    if not label:
        raise ValueError("an object without a name")
    left, top, right, bottom = (_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        raise ValueError(f"object '{label}': bndbox must hold the numbers xmin, ymin, xmax and ymax")
    return Box(label, left - 1, top - 1, right, bottom), _number(element, "difficult") == 1


def _number(element: Element, path: str) -> float:
    """The number below an element; NaN where there is none."""
    try:
        return float(element.findtext(path) or "")
    except ValueError:
        return math.nan


def _holds(store: Store, directory: str) -> bool:
    return any(True for _ in store.list(directory))
