"""Whether anybody explains: told now and again while nobody does, and ended when that is in vain. Loads no torch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.operators.base_physical_operator import InternalQueueOperatorMixin
from ray.data.context import EXECUTION_CALLBACKS_ENV_VAR

from igcam_batch.audit.arrival import Patience
from igcam_batch.audit.errors import StoppedError
from igcam_batch.audit.stop import Stop

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor


@dataclass(frozen=True)
class Moment:
    """How a run stands.

    Attributes:
        running: replicas that have started.
        in_hand: pieces that replicas have, begun or about to be.
        over: nothing is left to do.
    """

    running: int
    in_hand: int
    over: bool

    @property
    def works(self) -> bool:
        """Whether anybody can explain, or need not."""
        return bool(self.running or self.in_hand or self.over)


Watch = Callable[[Moment], bool]
"""Called now and again; gives whether replicas are to get further pieces, and may end the run by an exception."""


def until_stopped(no_replica: Patience, no_images: Patience, stop: Stop, tell: Callable[[str], None]) -> Watch:
    """A watch that ends a run when it is asked to stop and nothing is in hand, and when patience ends.

    Args:
        no_replica: while no replica runs.
        no_images: while those that run have nothing decoded.
        stop: whether the run was asked to stop.
        tell: told when it was, and something is in hand.

    Raises, when it is called:
        StoppedError: the run was asked to stop.
        IncompleteError: patience ended.
    """
    told = False

    def look(now: Moment) -> bool:
        nonlocal told
        if stop.asked and not now.over:
            if not now.in_hand:
                raise StoppedError(stop.reason)
            if not told:
                told = True
                tell(f"{stop.reason}: what is in hand is finished")
        elif now.in_hand or now.over:
            no_replica.renew()
            no_images.renew()
        elif now.running:
            no_replica.renew()
            no_images.wait()
        else:
            no_images.renew()
            no_replica.wait()
        return not stop.asked

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
    """Looks how the run stands, and keeps what is left from the replicas where they are to get no more."""

    def on_execution_step(self, executor: "StreamingExecutor") -> None:
        """Called by Ray Data."""
        assert executor._output_node is not None  # execution has begun
        replicas, reports = executor._output_node  # the last operator is their pool
        now = Moment(
            replicas.get_actor_info().running,
            replicas.num_active_tasks() + len(reports.output_queue),  # until the driver has its report
            replicas.has_execution_finished(),
        )
        verdicts = [watch(now) for watch in _watches]
        if not all(verdicts):
            _forget_what_waits(executor)


def _forget_what_waits(executor: "StreamingExecutor") -> None:
    """Empty the queues before every operator; what is begun goes on."""
    for operator, state in (executor._topology or {}).items():
        for queue in state.input_queues:
            queue.clear()
        if isinstance(operator, InternalQueueOperatorMixin):
            operator.clear_internal_input_queue()
