"""One row of the manifest: an image, where its bytes are, and what the dataset says about it."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from igcam_batch.storage import Entry, Store

_NAMES = "bmp dib gif jfif jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
SUFFIXES = frozenset("." + name for name in _NAMES.split())
_UNREAD_NAMES = (
    "avif heic heif jp2 j2k jpf jpx jxl svg psd eps exr dcm "  # pictures
    "raw dng arw cr2 cr3 nef nrw orf pef raf rw2 srw "  # of cameras
    "avi m4v mkv mov mp4 mpeg mpg webm wmv"
)
_UNREAD = frozenset("." + name for name in _UNREAD_NAMES.split())


@dataclass(frozen=True)
class Box:
    """An object in an image.

    Attributes:
        label: the dataset's name of its class.
        left, top, right, bottom: continuous pixel coordinates in the image as displayed, right and bottom exclusive.
        segmentation: its outline as COCO writes it, polygons or run lengths, in JSON; None where there is none.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    segmentation: str | None = None


@dataclass(frozen=True)
class Part:
    """Where an image lies within a larger file.

    Attributes:
        file: URI of that file.
        size, modified, etag: of that file, when the audit was planned; None where they are not known.
        offset: of its first byte, in a tar; as many follow as the row's `size` says.
        row: its row, in a Parquet file.
        column: of that file, as `image` or, within a struct, `image.bytes`.
    """

    file: str
    offset: int | None = None
    row: int | None = None
    column: str | None = None
    size: int | None = None
    modified: float | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Problem:
    """Why an image cannot be explained, known before it is read.

    Attributes:
        stage: as the failure table has it.
        error: one line that names file and place.
    """

    stage: str
    error: str


@dataclass(frozen=True)
class ImageRow:
    """An image that an audit will explain.

    Attributes:
        image_id: its path relative to INPUT, or the manifest's own id; unique in the dataset.
        uri: where its bytes are, as people read it.
        size: bytes; None where nothing was asked.
        modified: seconds since 1970; None likewise.
        labels: the dataset's names of the classes it shows; empty where the dataset does not say.
        boxes: objects in it.
        mask_uri: of a PNG whose pixel values are Pascal VOC's classes; None where there is none, or none is wanted.
        part: where it lies within a larger file; None: `uri` is a file of its own.
        problem: what is wrong with it; None: nothing that is known.
        etag: what S3 calls its content; None on disk, and where nothing was asked.
    """

    image_id: str
    uri: str
    size: int | None = None
    modified: float | None = None
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask_uri: str | None = None
    part: Part | None = None
    problem: Problem | None = None
    etag: str | None = None


def is_image(path: str) -> bool:
    """Whether a file is named as an image; what its bytes hold is for the decoder to say."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def is_unread(path: str) -> bool:
    """Whether a file is named as a picture or a video of a format that is not decoded."""
    return PurePosixPath(path).suffix.lower() in _UNREAD


def image_row(store: Store, entry: Entry, labels: tuple[str, ...] = ()) -> ImageRow:
    """The row of a file in a store."""
    return ImageRow(entry.path, store.uri(entry.path), entry.size, entry.modified, labels, etag=entry.etag)
