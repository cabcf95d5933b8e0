"""INPUT: a directory, or a file that says where images are or holds them."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore, Store, open_store

MANIFESTS = (".csv", ".jsonl", ".ndjson")
PARQUET, TAR, JSON = ".parquet", ".tar", ".json"
_FILES = (*MANIFESTS, PARQUET, TAR, JSON)
_COCO_DIRECTORY = "annotations"  # beside the directories of images


@dataclass(frozen=True)
class Place:
    """Where a dataset is.

    Attributes:
        store: its directory; images are named relative to it.
        file: the one file in it that was named; None: the directory was.
    """

    store: Store
    file: str | None = None

    @property
    def uri(self) -> str:
        """As it was named."""
        return self.store.uri(self.file) if self.file else self.store.root


def find_place(uri: str, *, follow_links: bool = False) -> Place:
    """What INPUT names.

    Args:
        uri: a directory, or a file that says where images are or holds them.
        follow_links: whether links may lead out of the directory. One that `uri` itself is, was named and is followed.

    Raises:
        InputError: there is no such directory or file, or it is a file of no use.
    """
    store = open_store(uri, follow_links=follow_links)
    local = "://" not in store.root
    path = PurePosixPath(store.root)
    suffix = path.suffix.lower()
    if local and not Path(store.root).exists():
        raise InputError(f"INPUT {store.root}: no such file or directory")
    if local and Path(store.root).is_dir():
        return Place(store)
    if suffix not in _FILES:
        if local:
            raise InputError(f"INPUT {store.root}: is a file; name a directory, or one of {' '.join(_FILES)}")
        return Place(store)
    above = store.root.rpartition("/")[0] or "/"
    if suffix == JSON and above.endswith(f"/{_COCO_DIRECTORY}"):
        return Place(open_store(above.rpartition("/")[0], follow_links=follow_links), f"{_COCO_DIRECTORY}/{path.name}")
    return Place(open_store(above, follow_links=follow_links or suffix != JSON), path.name)


def boundary(place: Place, layout: str) -> str | None:
    """The directory outside which nothing is read, wherever links lead; None where there is none.

    A manifest's URIs may name any place, as the user wrote them.
    """
    confined = isinstance(place.store, LocalStore) and not place.store.follow_links and layout != "manifest"
    return place.store.root if confined else None
