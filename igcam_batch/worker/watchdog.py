"""An end to decoding that does not end: C code cannot be interrupted, so its process is, once a verdict is left.

An image at which two processes died without one gets its verdict from the next. Whoever runs the shard again finds the
verdict and does not decode that image.
"""

import faulthandler
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from igcam_batch.storage import Store
from igcam_batch.worker.claims import Claims

logger = logging.getLogger(__name__)

_DIRECTORY = "verdicts"  # beside the plan's files
_EXIT_CODE = 70
_STDERR = 2
_GRACE = 10.0  # seconds for the verdict, before a process whose threads all stand still is ended without one


@dataclass(frozen=True)
class Verdict:
    """Why an image is not decoded again.

    Attributes:
        stage: as the failure table has it.
        error: one line.
    """

    stage: str
    error: str


class Watchdog:
    """Watches the images of a plan, one at a time.

    Args:
        store: OUTPUT.
        plan: directory of the plan in it.
        seconds: for one image.
        end: ends the process at once, with an exit code.
        life: of the driver, see `Claims`.
    """

    def __init__(
        self, store: Store, plan: str, seconds: float, end: Callable[[int], object] = os._exit, *, life: str = ""
    ) -> None:
        self._store = store
        self._directory = f"{plan}/{_DIRECTORY}"
        self._seconds = seconds
        self._life, self._end = life, end
        self._name = plan.replace("/", "-")
        self._claims: Claims | None = None

    def verdicts(self, start: int, stop: int) -> dict[int, Verdict]:
        """What was found of the rows from start (included) to stop (excluded) of the plan: one listing in most runs.

        One that was given less time than there is now counts for nothing. To be asked before any of them is decoded.
        """
        self._claims = Claims(f"{self._name}-{start}", self._life)
        if (culprit := self._claims.culprit()) is not None:
            self._leave(culprit, Verdict("crash", "decoding it ended the process, twice"), None)
        found = {}
        for entry in self._store.list(self._directory, recursive=False):
            stem = PurePosixPath(entry.path).stem
            if stem.isdecimal() and start <= int(stem) < stop:
                said = json.loads(self._store.read(entry.path))
                if said["seconds"] is None or said["seconds"] >= self._seconds:
                    found[int(stem)] = Verdict(said["stage"], said["error"])
        return found

    @contextmanager
    def over(self, row: int) -> Iterator[None]:
        """Watch while an image, a row of the plan, is decoded."""
        if self._claims:
            self._claims.take(row)
        timer = threading.Timer(self._seconds, self._give_up, [row])
        timer.daemon = True
        timer.start()
        # Of a thread that holds the interpreter's lock, the timer's own never hears; this one needs no lock.
        faulthandler.dump_traceback_later(self._seconds + _GRACE, exit=True, file=_STDERR)
        try:
            yield
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()
            if self._claims:
                self._claims.leave()

    def done(self) -> None:
        """The rows that `verdicts` was asked for have been gone through."""
        if self._claims:
            self._claims.clear()

    def _give_up(self, row: int) -> None:
        error = f"decoding took longer than --decode-timeout {self._seconds:g} s"
        try:
            self._leave(row, Verdict("decode", error), self._seconds)
        except Exception:  # without a verdict the image is tried again, which is better than to wait for it here
            logger.exception("row %d of the plan: %s; this could not be recorded", row, error)
        self._end(_EXIT_CODE)

    def _leave(self, row: int, verdict: Verdict, seconds: float | None) -> None:
        """Put a verdict; `seconds` is the time there was, None where it does not matter."""
        said = {"stage": verdict.stage, "error": verdict.error, "seconds": seconds}
        self._store.write(f"{self._directory}/{row}.json", json.dumps(said).encode())


def forget_verdicts(store: Store, plan: str) -> None:
    """Have every image of a plan be decoded again when its turn comes."""
    store.delete(f"{plan}/{_DIRECTORY}")
