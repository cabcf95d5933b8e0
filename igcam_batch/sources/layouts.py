"""The layouts by name, and which one a directory has."""

from collections.abc import Callable, Iterator

from igcam_batch.names import LayoutName
from igcam_batch.sources.folder import folder_rows, imagefolder_rows
from igcam_batch.sources.rows import ImageRow, is_image
from igcam_batch.sources.voc import ANNOTATIONS, IMAGES, voc_rows
from igcam_batch.storage import Store

LAYOUTS: dict[LayoutName, Callable[[Store], Iterator[ImageRow]]] = {
    "folder": folder_rows,
    "imagefolder": imagefolder_rows,
    "voc": voc_rows,
}


def find_layout(store: Store) -> LayoutName:
    """The layout that the files under the root have.

    `voc` where both of its directories hold something; `imagefolder` where images lie in sub-directories only; else
    `folder`. Reads the listing only as far as it must.
    """
    if any(True for _ in store.list(IMAGES)) and any(True for _ in store.list(ANNOTATIONS)):
        return "voc"
    if any(is_image(entry) for entry in store.list(recursive=False)):
        return "folder"
    return "imagefolder" if any(is_image(entry) for entry in store.list()) else "folder"


def image_rows(store: Store, layout: LayoutName) -> Iterator[ImageRow]:
    """Every image of a dataset, in a stable order; `auto` finds the layout first."""
    return LAYOUTS[find_layout(store) if layout == "auto" else layout](store)
