"""Which image a process was decoding when it died: a file on its node says so, as the process no longer can.

Ray runs the task of a process that died again, without end, and most often on the same node.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_DEATHS = 2  # of one image: the first may be anybody's fault


class Claims:
    """The images of a shard, as they are taken up. What cannot be written is left out: it is a safeguard, no more.

    Args:
        name: of the shard, unique on the node.
        life: of the driver; deaths in another one are not counted, as its end was theirs.
    """

    def __init__(self, name: str, life: str) -> None:
        self._life = life
        directory = Path(tempfile.gettempdir()) / f"igcam-batch-{os.getuid()}"
        with suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._taken = directory / name
        self._deaths = directory / f"{name}.deaths"
        self._usable = _is_ours_alone(directory)

    def culprit(self) -> int | None:
        """The image at which two processes have died one after the other; to be asked before one is taken up."""
        if not self._usable or not self._taken.exists():
            return None
        with suppress(OSError, ValueError):
            death = self._taken.read_text()
            self._taken.unlink()
            life, row = death.split()
            if life != self._life:
                self._deaths.unlink(missing_ok=True)
                return None
            with self._deaths.open("a") as deaths:
                deaths.write(f"{death}\n")
            return int(row) if self._deaths.read_text().splitlines().count(death) >= _DEATHS else None
        return None

    def take(self, row: int) -> None:
        """Say that an image is taken up."""
        if self._usable:
            with suppress(OSError):
                self._taken.write_text(f"{self._life} {row}")

    def leave(self) -> None:
        """Say that none is taken up: what ends the process now is not for an image."""
        if self._usable:
            with suppress(OSError):
                self._taken.unlink(missing_ok=True)

    def clear(self) -> None:
        """The shard has been gone through."""
        if self._usable:
            with suppress(OSError):
                self._taken.unlink(missing_ok=True)
                self._deaths.unlink(missing_ok=True)


def _is_ours_alone(directory: Path) -> bool:
    """Whether nobody else can have put anything there."""
    with suppress(OSError):
        found = directory.lstat()
        return (
            directory.is_dir()
            and not directory.is_symlink()
            and (found.st_uid, found.st_mode & 0o077) == (os.getuid(), 0)
        )
    return False
