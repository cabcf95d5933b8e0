"""The layouts by name, and which one a place has."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError
from igcam_batch.names import LayoutName
from igcam_batch.sources.coco import coco_rows, instances_files
from igcam_batch.sources.embedded import parquet_tables
from igcam_batch.sources.folder import folder_rows, imagefolder_rows
from igcam_batch.sources.manifest import URI, manifest_file, manifest_tables
from igcam_batch.sources.place import JSON, MANIFESTS, PARQUET, TAR, Place
from igcam_batch.sources.rows import ImageRow, is_image
from igcam_batch.sources.schema import in_tables
from igcam_batch.sources.source import Notes, Source, Wanted
from igcam_batch.sources.voc import voc_rows, years
from igcam_batch.sources.webdataset import webdataset_rows
from igcam_batch.storage import LocalStore, Store

_Rows = Callable[[Place, Wanted, Notes], Iterator[ImageRow]]
_ROWS: dict[LayoutName, _Rows] = {
    "folder": lambda place, _wanted, _notes: folder_rows(place.store),
    "imagefolder": lambda place, _wanted, _notes: imagefolder_rows(place.store),
    "voc": lambda place, wanted, notes: voc_rows(place.store, wanted, notes),
    "coco": coco_rows,
    "webdataset": lambda place, _wanted, _notes: webdataset_rows(place),
}
_TABLES: dict[LayoutName, Callable[[Place, Notes], Iterator[pa.Table]]] = {
    "manifest": manifest_tables,
    "parquet": lambda place, _notes: parquet_tables(place),
}
_OF_FILES: dict[LayoutName, tuple[str, ...]] = {
    "coco": (JSON,),
    "manifest": (*MANIFESTS, PARQUET),
    "parquet": (PARQUET,),
    "webdataset": (TAR,),
}
_WITH_SETS = ("voc", "coco")


def open_source(place: Place, layout: LayoutName = "auto", wanted: Wanted | None = None) -> Source:
    """A dataset's rows, in a stable order; `auto` finds the layout first.

    Raises:
        InputError: the place does not have the layout that is named; later, while rows are taken, what is wrong there.
    """
    wanted = wanted or Wanted()
    layout = find_layout(place) if layout == "auto" else layout
    suffix = PurePosixPath(place.file or "").suffix.lower()
    if place.file and suffix not in _OF_FILES.get(layout, ()):
        raise InputError(f"INPUT {place.uri}: is a file, and no {layout}; name a directory, or another --layout")
    if wanted.image_set is not None and layout not in _WITH_SETS:
        raise InputError(f"--image-set {wanted.image_set}: {place.uri} is a {layout}, which has no image sets")
    notes = Notes()
    tables = _TABLES[layout](place, notes) if layout in _TABLES else in_tables(_ROWS[layout](place, wanted, notes))
    return Source(layout, _noting_links(tables, place.store, notes), notes)


def find_layout(place: Place) -> LayoutName:
    """The layout that the files of a place have; reads the listing only as far as it must.

    A file has it by its name. A directory is `voc` or `coco` where those have their annotations, `manifest` where there
    is one, `folder` where images lie in it, and else what the first file below it is: `webdataset` for a tar, `parquet`
    for a Parquet file, `imagefolder` for an image.
    """
    if place.file:
        return _of_file(place.store.open, place.file)
    store = place.store
    if years(store):
        return "voc"
    if instances_files(store):
        return "coco"
    if manifest_file(store):
        return "manifest"
    for at_once in (False, True):
        for entry in store.list(recursive=at_once):
            suffix = PurePosixPath(entry.path).suffix.lower()
            if suffix == TAR:
                return "webdataset"
            if suffix == PARQUET:
                return "parquet"
            if is_image(entry.path):
                return "imagefolder" if at_once else "folder"
    return "folder"


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
