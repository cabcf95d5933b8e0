"""Pascal VOC: images in `JPEGImages/`, one XML file of boxes for each in `Annotations/`."""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from igcam_batch.errors import InputError
from igcam_batch.sources.rows import Box, ImageRow, image_row, is_image
from igcam_batch.storage import Store

IMAGES = "JPEGImages"
ANNOTATIONS = "Annotations"


def voc_rows(store: Store) -> Iterator[ImageRow]:
    """Every image of `JPEGImages/`, with the boxes of its annotation and the classes they name; none without one.

    Raises:
        InputError: an annotation that cannot be read as VOC; names the file.
    """
    for entry in store.list(IMAGES):
        if is_image(entry):
            boxes = _boxes(store, f"{ANNOTATIONS}/{PurePosixPath(entry.path).stem}.xml")
            yield image_row(store, entry, tuple(dict.fromkeys(box.label for box in boxes)), boxes)


def _boxes(store: Store, annotation: str) -> tuple[Box, ...]:
    try:
        root = fromstring(store.read(annotation), forbid_dtd=True)
        return tuple(_box(element) for element in root.iter("object"))
    except FileNotFoundError:
        return ()
    except (ParseError, DefusedXmlException) as error:
        raise InputError(f"{store.uri(annotation)}: not well-formed, harmless XML: {error}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know; a box that is none
        raise InputError(f"{store.uri(annotation)}: {error}") from None


def _box(element: Element) -> Box:
    """An <object>; VOC counts pixels from 1 and includes the last, so left and top move by one."""
    label = (element.findtext("name") or "").strip()
    if not label:
        raise ValueError("an object without a name")
    try:
        left, top, right, bottom = (
            float(element.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        left = top = right = bottom = math.nan
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        raise ValueError(f"object '{label}': bndbox must hold the numbers xmin, ymin, xmax and ymax")
    return Box(label, left - 1, top - 1, right, bottom)
