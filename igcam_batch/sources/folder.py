"""Directories of image files: without labels, and with one class for each sub-directory (torchvision's ImageFolder)."""

from collections.abc import Iterator

from igcam_batch.sources.rows import ImageRow, image_row, is_image
from igcam_batch.storage import Store


def folder_rows(store: Store) -> Iterator[ImageRow]:
    """Every image under the root, at any depth, unlabelled."""
    for entry in store.list():
        if is_image(entry.path):
            yield image_row(store, entry)


def class_directories(store: Store) -> list[str]:
    """The sub-directories of the root that hold images, in the order in which ImageFolder numbers them."""
    paths = (entry.path for entry in store.list())
    return sorted({path.partition("/")[0] for path in paths if "/" in path and is_image(path)})


def imagefolder_rows(store: Store) -> Iterator[ImageRow]:
    """Every image in a sub-directory of the root, labelled with that sub-directory's name."""
    for entry in store.list():
        label, separator, _ = entry.path.partition("/")
        if separator and is_image(entry.path):
            yield image_row(store, entry, (label,))
