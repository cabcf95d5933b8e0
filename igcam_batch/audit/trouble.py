"""Why a piece was not explained though none of its images is to blame, as it travels from a process to the driver."""

import errno
from dataclasses import dataclass

from igcam_batch.errors import one_line_with_kind

_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EINVAL,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
_LONGEST = 500  # characters of an exception's text


@dataclass(frozen=True)
class Trouble:
    """What went wrong around the images.

    Attributes:
        line: one line for a person; '' where nothing did.
        passing: whether it may be over by itself when the piece is tried again.
        stopped: the run was asked to stop before the piece was begun.
    """

    line: str = ""
    passing: bool = False
    stopped: bool = False

    @classmethod
    def of(cls, error: Exception) -> "Trouble":
        """What an exception means for the run: a full disk lasts, a network that is down may come back."""
        if isinstance(error, OSError):
            line = f"{error.filename or 'files'}: {error.strerror or error}"
            return cls(" ".join(line.split())[:_LONGEST], passing=error.errno not in _LASTING)
        return cls(one_line_with_kind(error))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.line) or self.stopped


NONE = Trouble()
STOPPED = Trouble(stopped=True)
