"""One row of the manifest: an image, and what the dataset says about it."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from igcam_batch.storage import Entry, Store

_NAMES = "bmp dib gif jfif jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
SUFFIXES = frozenset("." + name for name in _NAMES.split())


@dataclass(frozen=True)
class Box:
    """An object in an image.

    Attributes:
        label: the dataset's name of its class.
        left, top, right, bottom: continuous pixel coordinates in the image as displayed, right and bottom exclusive.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class ImageRow:
    """An image that an audit will explain.

    Attributes:
        image_id: its path relative to INPUT; unique in the dataset.
        uri: where its bytes are.
        size: bytes.
        modified: seconds since 1970.
        labels: the dataset's names of the classes it shows; empty where the dataset does not say.
        boxes: objects in it.
    """

    image_id: str
    uri: str
    size: int
    modified: float
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = field(default=())


def is_image(entry: Entry) -> bool:
    """Whether a file is named as an image; what its bytes hold is for the decoder to say."""
    return PurePosixPath(entry.path).suffix.lower() in SUFFIXES


def image_row(store: Store, entry: Entry, labels: tuple[str, ...] = (), boxes: tuple[Box, ...] = ()) -> ImageRow:
    """The row of a file in a store."""
    return ImageRow(entry.path, store.uri(entry.path), entry.size, entry.modified, labels, boxes)
