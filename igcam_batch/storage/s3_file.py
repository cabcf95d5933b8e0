"""An object in S3 as a file that is read in parts."""

import errno
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangedFile(io.RawIOBase):
    """Reads by ranges, each of them one request; wrap it in `io.BufferedReader`.

    Args:
        fetch: `fetch(start, length)`, those bytes of the object.
        size: bytes of the object.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._position = fetch, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; asks for nothing."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}: before the start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill a buffer, or what of it there are bytes for."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), self._size - self._position)
        if length <= 0:
            return 0
        data = self._fetch(self._position, length)
        if len(data) != length:
            raise OSError(errno.EIO, f"{len(data)} bytes came for {length}")
        view[:length] = data
        self._position += length
        return length

    def readall(self) -> bytes:
        """The rest, in one request: Python's own would ask for 8 KiB at a time."""
        data = bytearray(max(0, self._size - self._position))
        self.readinto(data)
        return bytes(data)
