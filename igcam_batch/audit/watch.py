"""Whether anybody explains: told now and again while nobody does, and ended when that is in vain. Loads no torch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.context import EXECUTION_CALLBACKS_ENV_VAR

from igcam_batch.audit.arrival import Patience
from igcam_batch.audit.errors import StoppedError
from igcam_batch.audit.stop import Stop

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

Watch = Callable[[bool], None]


def until_stopped(patience: Patience, stop: Stop) -> Watch:
    """What is called with whether a replica runs, or nothing is left to do.

    It raises StoppedError where none does and the run was asked to stop, as nothing is in hand then, and
    IncompleteError where patience ends.
    """

    def look(works: bool) -> None:
        if works:
            patience.renew()
        elif stop.asked:
            raise StoppedError(stop.reason)
        else:
            patience.wait()

    return look


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
