"""A directory, or an S3 prefix, that is ours by a mark: what `export` and `compare` write to.

It holds nothing else. What is not known by its path for a file of ours is never removed, and where there is such a file
nothing is written.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igcam_batch.errors import InputError
from igcam_batch.storage import LocalStore, Store, open_store, this_process

_PROGRAM = "igcam-batch"
_CLAIM = ".igcam-batch-claim"


@dataclass(frozen=True)
class Kind:
    """What such a directory holds.

    Attributes:
        name: with its article, as 'an export'.
        asked_by: how the command calls the directory, as '--output'.
        mark: the file by which it is known.
        files: matches the path of each of its other files, and nothing that somebody else would make.
    """

    name: str
    asked_by: str
    mark: str
    files: re.Pattern[str]


class Destination:
    """A directory that may be written to: it is empty, or holds what is to be replaced.

    Args:
        directory: a path or an `s3://` URI.
        kind: what is written there.
        overwrite: whether a finished one is replaced; an unfinished one always is.

    Raises:
        InputError: it is a file, it holds a finished one and `overwrite` is not given, or it holds anything else.
    """

    def __init__(self, directory: str, kind: Kind, overwrite: bool = False) -> None:
        self._directory, self._kind, self._overwrite = directory, kind, overwrite
        self._store = open_store(directory)
        if isinstance(self._store, LocalStore) and Path(self._store.root).is_file():
            raise InputError(f"{directory}: is a file; name a directory, or an s3:// URI")
        self._store.probe()
        self._check()

    @contextmanager
    def anew(self, details: Mapping[str, Any]) -> Iterator[Store]:
        """The directory, emptied, for a block that writes what it is to hold.

        Where the block fails, what it wrote is removed.

        Args:
            details: for the mark; may be added to until the block ends.

        Raises:
            InputError: another process writes to it, or it is no longer as it was.
        """
        with self._store.claim(_CLAIM, this_process()):
            self._check()
            self._empty()
            try:
                yield self._store
                self._mark("finished", details)
            except BaseException:
                with suppress(OSError):
                    self._empty()
                    self._store.delete_files([self._kind.mark])
                raise

    def put(self, files: Store, details: Mapping[str, Any]) -> None:
        """Put all files of a store here; where that fails, what was here before is put back.

        Args:
            files: what the directory is to hold.
            details: for the mark.

        Raises:
            InputError: another process writes to it, or it is no longer as it was.
        """
        with (
            self._store.claim(_CLAIM, this_process()),
            tempfile.TemporaryDirectory(prefix="igcam-before-") as place,
        ):
            before = open_store(place)
            if self._check() == "finished":
                _copy(self._store, before)
            try:
                self._empty()
                _copy(files, self._store)
                self._mark("finished", details)
            except BaseException:
                with suppress(OSError):
                    self._empty()
                    _copy(before, self._store)  # with its mark
                    if not before.exists(self._kind.mark):
                        self._store.delete_files([self._kind.mark])
                raise

    def _check(self) -> str | None:
        """The state of what is here, where it may be replaced; None where there is nothing."""
        state = self._state()
        if state == "finished" and not self._overwrite:
            raise InputError(
                f"{self._directory}: holds {self._kind.name}; name another {self._kind.asked_by}, or --overwrite it"
            )
        for entry in self._store.list():
            if state is None or not (entry.path == self._kind.mark or self._kind.files.fullmatch(entry.path)):
                raise InputError(
                    f"{self._directory}: holds {entry.path}, which is no part of {self._kind.name}; name another "
                    f"{self._kind.asked_by}"
                )
        return state

    def _state(self) -> str | None:
        """What the mark says; None where there is none, or it is not ours."""
        if not self._store.exists(self._kind.mark):
            return None
        try:
            said = json.loads(self._store.read(self._kind.mark))
        except ValueError:
            return None
        return said.get("state") if isinstance(said, dict) and said.get("program") == _PROGRAM else None

    def _mark(self, state: str, details: Mapping[str, Any]) -> None:
        said = {"program": _PROGRAM, "state": state, **details}
        self._store.write(self._kind.mark, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())

    def _empty(self) -> None:
        """Remove our files, but for the mark: until that says otherwise, what is here is unfinished."""
        self._mark("unfinished", {})
        self._store.delete_files(entry.path for entry in self._store.list() if self._kind.files.fullmatch(entry.path))


def _copy(files: Store, to: Store) -> None:
    for entry in files.list():
        to.write(entry.path, files.read(entry.path))
