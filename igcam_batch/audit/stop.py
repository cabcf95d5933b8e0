"""How a run is asked to stop: SIGTERM, as from `ray job stop`, a batch system, or a spot machine that goes away."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from igcam_batch.audit.errors import StoppedError
from igcam_batch.storage import Store


class Stop:
    """Whether a run was asked to stop.

    Attributes:
        asked: from the first SIGTERM on.
    """

    def __init__(self, store: Store, plan: str) -> None:
        self._store, self._plan = store, plan
        self.asked = self._paused = False

    def pause(self) -> None:
        """Have every process finish and commit what it has in hand, and begin nothing more."""
        with suppress(OSError):  # where nothing can be written, nothing can be committed either
            self._store.write(_marker(self._plan), b"")
            self._paused = True

    def resume(self) -> None:
        """Take a pause back, unless the run was asked to stop."""
        if self._paused and not self.asked:
            self._store.delete(_marker(self._plan))
            self._paused = False


def stop_asked(store: Store, plan: str) -> bool:
    """Whether the run of a plan was asked to stop, for any process of it."""
    return store.exists(_marker(plan))


@contextmanager
def stop_on_sigterm(store: Store, plan: str) -> Iterator[Stop]:
    """While the block runs, a first SIGTERM asks the run to stop, and a second ends it at once with a StoppedError.

    Signals reach the main thread alone; in any other, nothing is changed.
    """
    stop = Stop(store, plan)
    store.delete(_marker(plan))  # of an earlier run
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def terminated(_number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise StoppedError("stopped at once")
        stop.asked = True
        threading.Thread(target=stop.pause, daemon=True).start()  # the signal may have come in the midst of a request

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(OSError):
            store.delete(_marker(plan))


def _marker(plan: str) -> str:
    return f"{plan}/stop"
