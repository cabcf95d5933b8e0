"""Directories of image files: without labels, and with one class for each sub-directory (torchvision's ImageFolder)."""

from collections.abc import Iterator

from igcam_batch.sources.rows import ImageRow, image_row, is_image, is_unread
from igcam_batch.sources.source import Notes
from igcam_batch.storage import Entry, Store


def images_in(store: Store, under: str = "", notes: Notes | None = None) -> Iterator[Entry]:
    """Every image under a directory, at any depth; pictures and videos of other formats are noted."""
    for entry in store.list(under):
        if is_image(entry.path):
            yield entry
        elif notes and is_unread(entry.path):
            notes.add("pictures and videos of formats that are not read are left out", store.uri(entry.path))


def folder_rows(store: Store, notes: Notes | None = None) -> Iterator[ImageRow]:
    """Every image under the root, at any depth, unlabelled."""
    return (image_row(store, entry) for entry in images_in(store, notes=notes))


def class_directories(store: Store) -> list[str]:
    """The sub-directories of the root that hold images, in the order in which ImageFolder numbers them."""
    paths = (entry.path for entry in store.list())
    return sorted({path.partition("/")[0] for path in paths if "/" in path and is_image(path)})


def imagefolder_rows(store: Store, notes: Notes | None = None) -> Iterator[ImageRow]:
    """Every image in a sub-directory of the root, labelled with that sub-directory's name."""
    for entry in images_in(store, notes=notes):
        label, separator, _ = entry.path.partition("/")
        if separator:
            yield image_row(store, entry, (label,))
