"""How a run is asked to stop.

By SIGTERM, as from `ray job stop`, a batch system, or a spot machine that goes away; or by the clock, at --deadline.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import FrameType

from igcam_batch.audit.errors import StoppedError
from igcam_batch.storage import Store

_ONE_WISH = 2.0  # seconds; `timeout` sends a signal to its process and to that one's group, so that it comes twice


class Stop:
    """Whether a run was asked to stop.

    Attributes:
        asked: from the first time on that it was.
        over: the run has ended by itself; whoever asks comes too late.
        reason: in words.
    """

    def __init__(self, store: Store, plan: str) -> None:
        self._store, self._plan = store, plan
        self.asked = self._paused = self.over = False
        self.reason = "stopped"
        self._asking: list[threading.Thread] = []

    def ask(self, reason: str) -> None:
        """Have every process finish and commit what it has in hand, and begin nothing more, for good."""
        if self.over:
            return
        self.asked, self.reason = True, reason
        asking = threading.Thread(target=self.pause, daemon=True)  # a signal may have come in the midst of a request
        asking.start()
        self._asking.append(asking)

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

    def end(self) -> None:
        """Leave no trace: nobody is to be told any more."""
        self.over = True
        for thread in self._asking:
            thread.join()
        with suppress(OSError):
            self._store.delete(_marker(self._plan))


def stop_asked(store: Store, plan: str) -> bool:
    """Whether the run of a plan was asked to stop, for any process of it."""
    return store.exists(_marker(plan))


@contextmanager
def stopping(store: Store, plan: str, deadline: float | None = None) -> Iterator[Stop]:
    """While the block runs, a first SIGTERM asks the run to stop, and a later one ends it at once with a StoppedError.

    Args:
        store: OUTPUT.
        plan: directory of the run's plan.
        deadline: the moment at which the run is asked to stop by itself, as `time.monotonic` counts; None: never.
    """
    stop = Stop(store, plan)
    store.delete(_marker(plan))  # of an earlier run
    with _at(deadline, partial(stop.ask, "the --deadline has come")), _on_sigterm(stop):
        try:
            yield stop
        finally:
            stop.end()


@contextmanager
def _at(moment: float | None, call: Callable[[], None]) -> Iterator[None]:
    """Call at a moment, if the block still runs then; where it has passed, before the block begins."""
    if moment is not None and moment <= time.monotonic():
        call()
        moment = None
    if moment is None:
        yield
        return
    timer = threading.Timer(max(0.0, moment - time.monotonic()), call)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _on_sigterm(stop: Stop) -> AbstractContextManager[None]:
    before = False

    def terminated() -> None:
        nonlocal before
        if stop.over:
            return
        if before:
            raise StoppedError("stopped at once")
        before = True
        if not stop.asked:  # by the clock
            stop.ask("stopped")

    return _at_sigterm(terminated)


@contextmanager
def ending_at_sigterm() -> Iterator[Callable[[], None]]:
    """While the block runs, and is not in a `stopping`, SIGTERM is a StoppedError: it plans, or waits for a cluster.

    Yields:
        What to call when the run has ended: from then on SIGTERM changes nothing, while the block tidies up.
    """
    over = False

    def end() -> None:
        nonlocal over
        over = True

    def terminated() -> None:
        if not over:
            raise StoppedError("stopped before any image was explained")

    with _at_sigterm(terminated):
        yield end


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Give SIGTERM back to who had it: Ray takes it where it is begun, and that of a run is of more use."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _at_sigterm(call: Callable[[], None]) -> Iterator[None]:
    """Call at every SIGTERM, but for those that come with another.

    Signals reach the main thread alone; in any other, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = -math.inf

    def terminated(_number: int, _frame: FrameType | None) -> None:
        nonlocal taken
        if time.monotonic() - taken >= _ONE_WISH:
            taken = time.monotonic()
            call()

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _marker(plan: str) -> str:
    return f"{plan}/stop"
