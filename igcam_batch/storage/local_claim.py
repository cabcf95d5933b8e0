"""Owning a directory: a lock on a file in it, which the kernel lets go of when the process ends, killed or not."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from igcam_batch.errors import InputError
from igcam_batch.storage.claim import Claim, refusal

_held: set[int] = set()  # descriptors of the locks of this process
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_TRIES = 1000  # of a directory that is gone again: others who come and go take away a few of them in a row


@contextmanager
def claim_directory(root: Path, name: str, owner: str) -> Iterator[Claim]:
    """Own a directory while the block runs. See `Store.claim`.

    Directories that are made for this and hold nothing else at the end are removed again.
    """
    made = [directory for directory in (root, *root.parents) if not directory.exists()]
    descriptor = _lock(root, name)
    _held.add(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
        yield Claim(owner)
    finally:
        with suppress(OSError):  # it has become read-only, or is gone
            (root / name).unlink()  # before it is let go: who waits for it sees that it is another file
        _held.discard(descriptor)
        os.close(descriptor)
        with suppress(OSError):  # a directory holds something
            for directory in made:
                directory.rmdir()


def _lock(root: Path, name: str) -> int:
    """The locked file, as a descriptor that programs started from here do not inherit."""
    path = root / name
    why = ""
    for _ in range(_TRIES):
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:  # who held it removed the directory; or none can be made there, as in /proc
            why = f" ({error.strerror})"
            continue
        except FileExistsError as error:  # the same, between two looks of mkdir; or there is something else
            if _is_there(error.filename):
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise refusal(str(root), owner) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                line = f"its file system has no locks ({error.strerror}); name a directory on one that has, or s3://"
                raise InputError(f"OUTPUT {root}: {line}") from None
            raise
        os.close(descriptor)
    raise InputError(f"OUTPUT {root}: no directory can be made there, or it does not last{why}; name another")


def _is_there(path: str) -> bool:
    """Whether a path names something that is no directory."""
    try:
        return not stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    """Who holds the lock, which it writes down right after it got it."""
    for _ in range(10):
        if said := os.pread(descriptor, 4096, 0):
            return said.decode(errors="replace")
        time.sleep(0.05)
    return ""


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one that has the name, and not one that its owner has just removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _after_fork() -> None:
    """A child owns nothing: with the descriptor it would keep the lock when its parent is gone."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
