"""What a place that holds files can do."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from igcam_batch.storage.claim import Claim


class PlaceError(OSError):
    """Not one file, but the whole place cannot be used: no network, no credentials, no disk."""


class ChangedError(OSError):
    """A file is another than it was; `strerror` says what it was, and what it is now."""


@dataclass(frozen=True)
class Version:
    """What tells a file from one that has taken its place; what is None is not known, and not compared.

    Attributes:
        size: bytes.
        modified: seconds since 1970.
        etag: what S3 calls the content.
    """

    size: int | None = None
    modified: float | None = None
    etag: str | None = None

    @property
    def known(self) -> bool:
        """Whether there is anything to compare."""
        return self != Version()


@dataclass(frozen=True)
class Entry:
    """A file in a store.

    Attributes:
        path: relative to the store's root, `/` between its parts.
        size: bytes.
        modified: seconds since 1970.
        etag: what S3 calls its content, as S3 writes it; None on disk.
    """

    path: str
    size: int
    modified: float
    etag: str | None = None


class Store(Protocol):
    """Files under one root. Paths are relative to it, with `/` between their parts."""

    root: str
    at_once: int
    """Requests that are best under way at a time, for small files and for listing: where answers take time, many."""

    def probe(self, path: str = "") -> None:
        """InputError, within seconds, where the place, or that file in it, cannot be reached at all."""
        ...

    def uri(self, path: str) -> str:
        """Where `path` is, in full."""
        ...

    def list(self, under: str = "", *, recursive: bool = True) -> Iterator[Entry]:
        """Files under a directory, at any depth or in it alone, in a stable order; none where it does not exist.

        Hidden files and directories (a leading dot) are left out.
        """
        ...

    def entry(self, path: str) -> Entry:
        """What a listing says of one file; OSError where there is none."""
        ...

    def read(self, path: str, version: Version | None = None) -> bytes:
        """The whole file; OSError where that fails, ChangedError where it is not of that version."""
        ...

    def read_range(self, path: str, start: int, length: int, version: Version | None = None) -> bytes:
        """`length` bytes of the file from `start` on, or as many as there are; errors as for `read`."""
        ...

    def open(self, path: str, version: Version | None = None) -> BinaryIO:
        """The file for reading in parts; errors as for `read`."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file: a reader sees all of it or none of it, also after a crash. OSError where that fails."""
        ...

    def claim(self, name: str, owner: str) -> AbstractContextManager[Claim]:
        """Own the place, by a file of that name, against all others who claim it, until the block ends.

        Args:
            name: of the file; one with a leading dot is not listed.
            owner: who claims it, in words for the person who is refused.

        Raises:
            InputError: another owns it; names that owner.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def is_lost(self, error: OSError, /) -> bool:
        """Whether a file could not be read because nothing can be read here now, rather than for its own sake."""
        ...

    def delete(self, under: str) -> None:
        """Remove a file, or a directory with what it holds; nothing where there is neither."""
        ...

    def sweep(self, under: str) -> None:
        """Remove from a directory what processes left in it that were killed while they put a file."""
        ...

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove these files and no others, many at a time where the store can; nothing where there is none."""
        ...
