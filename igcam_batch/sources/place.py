"""INPUT: a directory, or a file that says where images are or holds them."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from igcam_batch.errors import InputError
from igcam_batch.storage import Store, open_store

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


def find_place(uri: str) -> Place:
    """What INPUT names.

    Raises:
        InputError: there is no such directory or file, or it is a file of no use.
    """
    store = open_store(uri)
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
        return Place(open_store(above.rpartition("/")[0]), f"{_COCO_DIRECTORY}/{path.name}")
    return Place(open_store(above), path.name)
