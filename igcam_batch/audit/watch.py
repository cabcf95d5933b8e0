"""Whether anybody explains: told now and again while nobody does, and ended when that is in vain. Loads no torch."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.context import EXECUTION_CALLBACKS_ENV_VAR

from igcam_batch.audit.arrival import free_in_words
from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.audit.stop import Stop
from igcam_batch.words import duration_in_words

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

Watch = Callable[[bool], None]
_BETWEEN_LINES = 60.0  # seconds


class Patience:
    """Waits for a replica while there is none: its node was lost, or another job has what it needs.

    Args:
        kind: of the resource that a replica needs, `CPU` or `GPU`.
        each: of it, for each replica.
        seconds: that none may run, at most.
        stop: whether the run was asked to stop; without a replica nothing is in hand, and it stops at once.
        tell: told what is waited for.
    """

    def __init__(self, kind: str, each: float, seconds: float, stop: Stop, tell: Callable[[str], None]) -> None:
        self._kind, self._each, self._seconds = kind, each, seconds
        self._stop, self._tell = stop, tell
        self._since: float | None = None
        self._told = 0.0

    def __call__(self, works: bool) -> None:
        """Look, at whatever moment.

        Args:
            works: whether a replica runs, or nothing is left to do.

        Raises:
            StoppedError: none does, and the run was asked to stop.
            IncompleteError: none did for too long.
        """
        now = time.monotonic()
        if works:
            self._since = None
            return
        if self._stop.asked:
            raise StoppedError(self._stop.reason)
        if self._since is None:
            self._since = self._told = now
        until = self._since + self._seconds
        if now >= until:
            raise IncompleteError(
                f"no worker ran for {duration_in_words(self._seconds)}: {free_in_words(self._kind, self._each)}"
            )
        if now - self._told >= _BETWEEN_LINES:
            self._told = now
            self._tell(
                f"no worker runs: {free_in_words(self._kind, self._each)}; waiting up to {until - now:.0f} s more"
            )


_watches: list[Watch] = []  # of the execution under way


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """While the block runs, have Ray Data call at each step of what it executes; it ends with what the call raises."""
    _watches.append(watch)
    before = os.environ.get(EXECUTION_CALLBACKS_ENV_VAR)
    # Not by the DataContext, which travels to every process: one without this package would fail as if by chance.
    named = f"{AtEachStep.__module__}.{AtEachStep.__name__}"
    os.environ[EXECUTION_CALLBACKS_ENV_VAR] = ",".join(filter(None, (before, named)))
    try:
        yield
    finally:
        _watches.remove(watch)
        if before is None:
            del os.environ[EXECUTION_CALLBACKS_ENV_VAR]
        else:
            os.environ[EXECUTION_CALLBACKS_ENV_VAR] = before


class AtEachStep(ExecutionCallback):
    """Looks whether a replica runs."""

    def on_execution_step(self, executor: "StreamingExecutor") -> None:
        """Called by Ray Data."""
        assert executor._output_node is not None  # execution has begun
        replicas, _ = executor._output_node  # the last operator is their pool
        works = replicas.get_actor_info().running or replicas.num_active_tasks() or replicas.has_execution_finished()
        for watch in _watches:
            watch(bool(works))
