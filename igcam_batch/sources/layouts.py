"""The layouts by name, and which one a place has."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.names import LayoutName
from igcam_batch.sources.coco import coco_rows, instances_files
from igcam_batch.sources.embedded import holds_images, parquet_tables
from igcam_batch.sources.folder import folder_rows, imagefolder_rows
from igcam_batch.sources.manifest import URI, manifest_file, manifest_tables
from igcam_batch.sources.place import JSON, MANIFESTS, PARQUET, TAR, Place
from igcam_batch.sources.rows import ImageRow, is_image
from igcam_batch.sources.schema import in_tables
from igcam_batch.sources.source import Notes, Source, Wanted
from igcam_batch.sources.voc import voc_rows, years
from igcam_batch.sources.webdataset import webdataset_rows
from igcam_batch.storage import Entry, LocalStore, Store

_Rows = Callable[[Place, Wanted, Notes], Iterator[ImageRow]]
_ROWS: dict[LayoutName, _Rows] = {
    "folder": lambda place, _wanted, notes: folder_rows(place.store, notes),
    "imagefolder": lambda place, _wanted, notes: imagefolder_rows(place.store, notes),
    "voc": lambda place, wanted, notes: voc_rows(place.store, wanted, notes),
    "coco": coco_rows,
    "webdataset": lambda place, _wanted, notes: webdataset_rows(place, notes),
}
_TABLES: dict[LayoutName, Callable[[Place, Notes], Iterator[pa.Table]]] = {
    "manifest": manifest_tables,
    "parquet": parquet_tables,
}
_OF_FILES: dict[LayoutName, tuple[str, ...]] = {
    "coco": (JSON,),
    "manifest": (*MANIFESTS, PARQUET),
    "parquet": (PARQUET,),
    "webdataset": (TAR,),
}
_WITH_SETS = ("voc", "coco")
_LOOKED_AT = 10_000  # files, for a layout


def open_source(place: Place, layout: LayoutName = "auto", wanted: Wanted | None = None) -> Source:
    """A dataset's rows, in a stable order; `auto` finds the layout first.

    Raises:
        InputError: the place does not have the layout that is named; later, while rows are taken, what is wrong there.
    """
    wanted, notes = wanted or Wanted(), Notes()
    layout = find_layout(place, notes) if layout == "auto" else layout
    suffix = PurePosixPath(place.file or "").suffix.lower()
    if place.file and suffix not in _OF_FILES.get(layout, ()):
        raise InputError(f"INPUT {place.uri}: is a file, and no {layout}; name a directory, or another --layout")
    if wanted.image_set is not None and layout not in _WITH_SETS:
        raise InputError(f"--image-set {wanted.image_set}: {place.uri} is a {layout}, which has no image sets")
    tables = _TABLES[layout](place, notes) if layout in _TABLES else in_tables(_ROWS[layout](place, wanted, notes))
    return Source(layout, _noting_links(tables, place.store, notes), notes)


def find_layout(place: Place, notes: Notes | None = None) -> LayoutName:
    """The layout that the files of a place have; reads the listing only as far as it must.

    A file has it by its name. A directory is `voc` or `coco` where those have their annotations, and `manifest` where
    there is one. Else the first files below it decide: `webdataset` where there is a tar, `parquet` where there is a
    Parquet file that holds images, `folder` where images lie in the directory itself, `imagefolder` where they lie
    below it.

    Args:
        place: of the dataset.
        notes: told what another layout would have taken.
    """
    if place.file:
        return _of_file(place.store.open, place.file)
    store, notes = place.store, notes or Notes()
    if years(store):
        return "voc"
    if instances_files(store):
        return "coco"
    if manifest_file(store):
        return "manifest"
    first = list(islice(store.list(), _LOOKED_AT))
    images = [entry.path for entry in first if is_image(entry.path)]
    packed = _packed(store, first)
    if packed:
        for path in images:
            notes.add(f"images lie beside the {packed} files and are left out (--layout folder takes them)", path)
        return packed
    if any(is_image(entry.path) for entry in store.list(recursive=False)):
        for path in images:
            if "/" in path:
                notes.add("images in sub-directories have no label (--layout imagefolder gives them theirs)", path)
        return "folder"
    return "imagefolder" if images or any(is_image(entry.path) for entry in store.list()) else "folder"


def _packed(store: Store, entries: Iterable[Entry]) -> LayoutName | None:
    """The layout of files that hold many images, if there is one of them."""
    tables = True
    for entry in entries:
        suffix = PurePosixPath(entry.path).suffix.lower()
        if suffix == TAR:
            return "webdataset"
        if suffix == PARQUET and tables:
            if holds_images(store, entry.path):
                return "parquet"
            tables = False  # what the first does not hold, others of its kind hardly do
    return None


def _noting_links(tables: Iterator[pa.Table], store: Store, notes: Notes) -> Iterator[pa.Table]:
    """The same tables, and at their end a note on the links that were not followed."""
    yield from tables
    if isinstance(store, LocalStore):
        for path in store.links_left_out:
            notes.add("links lead out of INPUT and were left out; --follow-links takes them", store.uri(path))


def _of_file(open_file: Callable[[str], object], file: str) -> LayoutName:
    suffix = PurePosixPath(file).suffix.lower()
    if suffix == PARQUET:
        return "manifest" if URI in pq.read_schema(open_file(file)).names else "parquet"
    return next(layout for layout, suffixes in _OF_FILES.items() if suffix in suffixes)
