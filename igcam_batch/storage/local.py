"""Files on disk, or on whatever is mounted as one."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from igcam_batch.storage.claim import Claim
from igcam_batch.storage.local_claim import claim_directory
from igcam_batch.storage.store import ChangedError, Entry, Version

_BESIDE = re.compile(r"\..+\.[0-9a-f]{32}")  # what a file is called until it is whole

_Identity = tuple[int, int]  # device and inode


class LocalStore:
    """A directory. See `Store`.

    Args:
        root: path of the directory, which `write` makes if need be.
        follow_links: whether links lead anywhere. If not, nothing is listed or read that a symbolic link, or a path
            that climbs, takes out of the directory; links to files within it are files.

    Attributes:
        root: the directory, in full.
        follow_links: as above.
        links_left_out: paths of the links that `list` has come by and left out because they lead out.
    """

    at_once = 1

    def __init__(self, root: str, *, follow_links: bool = True) -> None:
        self._root = Path(os.path.abspath(Path(root).expanduser()))  # noqa: PTH100  # also takes `..` out
        self._resolved = Path(os.path.realpath(self._root))  # also where links lead in a circle
        self.root = str(self._root)
        self.follow_links = follow_links
        self.links_left_out: dict[str, None] = {}

    def probe(self, path: str = "") -> None:
        """A disk is there: what is wrong with a directory or a file shows where it is used."""

    def uri(self, path: str) -> str:
        """Absolute path of `path`."""
        return str(self._root / path)

    def list(self, under: str = "", *, recursive: bool = True) -> Iterator[Entry]:
        """Files under a directory. Where links are followed, so are those to directories, but in no circle."""
        start, under = self._root / under, under.rstrip("/")
        if not self._is_left_out(start, under):
            yield from self._walk(start, under, recursive, frozenset())

    def _walk(self, directory: Path, relative: str, recursive: bool, above: frozenset[_Identity]) -> Iterator[Entry]:
        try:
            if (identity := _identity(directory)) in above:
                return
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            if entry.is_symlink() and self._is_left_out(Path(entry.path), path):
                continue
            if _is_directory(entry, self.follow_links):
                if recursive:
                    yield from self._walk(Path(entry.path), path, recursive, above | {identity})
            elif details := _details(entry):
                yield Entry(path, details.st_size, details.st_mtime)

    def entry(self, path: str) -> Entry:
        """Size and time of a file."""
        details = (self._root / path).stat()
        return Entry(path, details.st_size, details.st_mtime)

    def _is_left_out(self, link: Path, path: str) -> bool:
        if self.follow_links or self._is_within(link):
            return False
        if link.exists():  # and else it leads nowhere
            self.links_left_out[path] = None
        return True

    def _is_within(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._resolved)

    def read(self, path: str, version: Version | None = None) -> bytes:
        """The whole file, of that version also when its end is reached."""
        with self.open(path) as file:
            data = file.read()
            _refuse_another(file, version)
        return data

    def read_range(self, path: str, start: int, length: int, version: Version | None = None) -> bytes:
        """A part of the file."""
        with self.open(path, version) as file:
            file.seek(start)
            return file.read(length)

    def open(self, path: str, version: Version | None = None) -> BinaryIO:
        """The file for reading in parts; what is compared with the version is what was opened."""
        file = self._open(self._root / path)
        try:
            _refuse_another(file, version)
        except BaseException:
            file.close()
            raise
        return file

    def _open(self, whole: Path) -> BinaryIO:
        if self.follow_links:
            return whole.open("rb")
        if not self._is_within(whole):
            raise PermissionError(errno.EPERM, f"a link leads out of {self.root}; --follow-links takes it", str(whole))
        return open(os.path.realpath(whole), "rb", opener=_open_no_link)

    def write(self, path: str, data: bytes) -> None:
        """Write beside, flush to disk, rename into place, and make the rename last."""
        target = self._root / path
        with _beside(target, data) as beside:
            beside.replace(target)
        _flush_directory(target.parent)

    def claim(self, name: str, owner: str) -> AbstractContextManager[Claim]:
        """A lock of the kernel's on the file, which ends with the process, however that ends."""
        return claim_directory(self._root, name, owner)

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        whole = self._root / path
        return (self.follow_links or self._is_within(whole)) and whole.is_file()

    def is_lost(self, _error: OSError, /) -> bool:
        """Where the directory is gone, or holds nothing any more, as that of a disk which is not mounted."""
        try:
            return next(self._root.iterdir(), None) is None
        except OSError:
            return True

    def delete(self, under: str) -> None:
        """Remove a file or a directory."""
        target = self._root / under
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        self._remove_empty(target)

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files, one by one."""
        for path in paths:
            target = self._root / path
            target.unlink(missing_ok=True)
            self._remove_empty(target)

    def _remove_empty(self, target: Path) -> None:
        """Remove the directories that held what was removed, and hold nothing now."""
        for parent in target.parents:  # a directory is there for its files, as in an object store
            if parent == self._root or not parent.is_relative_to(self._root):
                break
            try:
                parent.rmdir()
            except OSError:  # it holds something, or is not there
                break

    def sweep(self, under: str) -> None:
        """Remove the hidden files that `_beside` makes."""
        directory = self._root / under
        for path in directory.iterdir() if directory.is_dir() else ():
            if _BESIDE.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def _beside(target: Path, data: bytes) -> Iterator[Path]:
    """The bytes on disk in a hidden file beside `target`, which is gone at the end, unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    except OSError as error:
        if error.filename in (None, str(beside)):  # people know the file by its own name
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise
    finally:
        beside.unlink(missing_ok=True)


def _flush_directory(directory: Path) -> None:
    """Make names in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_another(file: BinaryIO, version: Version | None) -> None:
    """ChangedError unless an open file is of that version."""
    if version is None:
        return
    now = os.fstat(file.fileno())
    if version.size is not None and version.size != now.st_size:
        line = f"{version.size} bytes then, {now.st_size} now"
    elif version.modified is not None and version.modified != now.st_mtime:
        line = f"modified {_as_date(version.modified)} then, {_as_date(now.st_mtime)} now"
    else:
        return
    raise ChangedError(errno.ESTALE, line, file.name)


def _as_date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _open_no_link(path: str, flags: int) -> int:
    """Opens what is no link: what was looked at may have been replaced by one."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _identity(directory: Path) -> _Identity:
    details = directory.stat()
    return details.st_dev, details.st_ino


def _is_directory(entry: os.DirEntry[str], follow_links: bool) -> bool:
    """Whether it is a directory to go into; False for a link that cannot be followed."""
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:
        return False


def _details(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Size and time of what is a file; None for anything else, as a link to nothing or in a circle."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # gone since it was listed
            return None
        raise
