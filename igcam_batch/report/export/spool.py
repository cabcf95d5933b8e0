"""A JSON array that grows on disk while it is made."""

import json
import tempfile
from types import TracebackType
from typing import Any, Self


class Spool:
    """The values of an array, one by one."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self.count = 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self._file.close()

    def add(self, value: Any) -> None:
        """Add a value; ValueError where it holds a number that JSON has not, as NaN."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._file.write((b",\n" if self.count else b"") + text.encode())
        self.count += 1

    def array(self) -> bytes:
        """The whole, in memory."""
        self._file.seek(0)
        return b"[" + self._file.read() + b"]"
