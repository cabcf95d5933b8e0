"""What a cluster comes to have: nodes that its autoscaler brings, or that start later, and what others set free."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util import placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup

from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.words import amount_in_words, duration_in_words

_BETWEEN_LOOKS, _BETWEEN_LINES = 1.0, 60.0  # seconds
_WORKER = "MapWorker"  # as Ray Data calls them, and in brackets what they do
_NOT_YET = "PENDING_CREATION", "RESTARTING"  # states of an actor; one with an address is in its constructor


def may_grow() -> bool:
    """Whether nodes may join: not where this process started Ray for itself."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    return node is not None and not node.head


def of_nodes(kind: str) -> list[float]:
    """How much of a resource, `CPU` or `GPU`, each node has that is alive and has any."""
    return [amount for node in ray.nodes() if node["Alive"] and (amount := node["Resources"].get(kind, 0.0))]


def fitting(there: list[float], each: float) -> int:
    """How many replicas that take one, or a part of one that they share, fit on nodes with so many."""
    return sum(int(count) for count in there) * _on_one(each)


def needed(replicas: int, each: float) -> int:
    """How many GPUs some replicas need that take one each, or a part of one that they share."""
    return math.ceil(replicas / _on_one(each))


def _on_one(each: float) -> int:
    """How many replicas share a GPU."""
    return int(1 / each + 1e-9)


def wait_for(
    kind: str, replicas: int, each: float, seconds: float, tell: Callable[[str], None], deadline: float | None = None
) -> None:
    """Ask for what some replicas need, and wait until it is there, or for so many seconds.

    Args:
        kind: of the resource, `CPU` or `GPU`.
        replicas: how many.
        each: of the resource for each, 1 at most.
        seconds: at most.
        tell: told what is waited for, at once and then now and again.
        deadline: the moment at which the run is to end, as `time.monotonic` counts; None: never.

    Raises:
        StoppedError: that moment comes first.
    """

    def tally() -> str:
        return f"{needed(replicas, each)} needed, {sum(of_nodes(kind)):g} there"

    told = time.monotonic()
    until = told + seconds
    tell(f"waiting up to {seconds:.0f} s for {kind}s: {tally()}")
    # A wish that is this process's own: Ray forgets it with the process, however that ends. (The autoscaler's
    # request_resources is one for the whole cluster, and stays.)
    asked = placement_group([{kind: each}] * replicas)
    try:
        while fitting(of_nodes(kind), each) < replicas and (now := time.monotonic()) < until:
            if deadline is not None and now >= deadline:
                raise StoppedError(f"the --deadline has come while {kind}s were waited for ({tally()})")
            if now - told >= _BETWEEN_LINES:
                told = now
                tell(f"waiting up to {until - now:.0f} s more for {kind}s: {tally()}")
            time.sleep(_BETWEEN_LOOKS)
    finally:
        remove_placement_group(asked)  # the replicas hold what they use; what stays idle may go


class Patience:
    """Waits for a worker while none runs, as others have what it needs, or the nodes that had it are gone.

    Args:
        kind: of the resource that a worker needs, `CPU` or `GPU`.
        each: of it, for each worker.
        seconds: that none may run, at most.
        tell: told now and again what is waited for.
    """

    _none, _was_none, _needs = "no worker runs", "no worker ran", "each needs"

    def __init__(self, kind: str, each: float, seconds: float, tell: Callable[[str], None]) -> None:
        self._kind, self._each, self._seconds, self._tell = kind, each, seconds, tell
        self.renew()

    def renew(self) -> None:
        """Begin anew: one runs, or did until now."""
        self._told = time.monotonic()
        self._until = self._told + self._seconds

    def wait(self) -> None:
        """None runs at this moment.

        Raises:
            IncompleteError: none did for too long.
        """
        now = time.monotonic()
        if now >= self._until:
            if not self._has_hope():
                raise IncompleteError(f"{self._was_none} for {duration_in_words(self._seconds)}: {self._tally()}")
            self._until = now + self._seconds
        if now - self._told >= _BETWEEN_LINES:
            self._told = now
            left = "" if self._has_hope() else f"; waiting up to {self._until - now:.0f} s more"
            self._tell(f"{self._none}: {self._tally()}{left}")

    def _has_hope(self) -> bool:
        """Whether what is waited for is under way, however long it takes."""
        return self._starting() > 0

    def _tally(self) -> str:
        free, there = ray.available_resources().get(self._kind, 0.0), sum(of_nodes(self._kind))
        found = f"{self._needs} {self._each:g} {self._kind}, and {free:g} of the cluster's {there:g} are free"
        begun = self._starting()
        return found + f"; {amount_in_words(begun, 'worker')} {'is' if begun == 1 else 'are'} starting" * (begun > 0)

    def _starting(self) -> int:
        """Workers that have what is waited for, and load the model."""
        return starting()


class PatienceForImages(Patience):
    """Waits for decoded images while workers have none. It ends where no node could decode any; else it may be slow."""

    _none, _was_none, _needs = "no worker has an image", "no image was decoded", "decoding needs"

    def _has_hope(self) -> bool:
        return any(there >= self._each for there in of_nodes(self._kind))

    def _starting(self) -> int:
        return 0


def starting() -> int:
    """How many of Ray Data's workers for this process have a place on some node, and are being constructed."""
    job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id()))
    actors = ray._private.state.actors(job_id=job).values()  # the public way asks the dashboard, which may not run
    workers = [actor for actor in actors if actor["ActorClassName"].startswith(_WORKER)]
    return sum(worker["State"] in _NOT_YET and worker["Address"]["IPAddress"] != "" for worker in workers)


@contextmanager
def reserved(kind: str, each: float, seconds: float, tell: Callable[[str], None]) -> Iterator[PlacementGroup]:
    """Hold what a worker needs of a resource while the block runs; the arguments are those of `Patience`.

    Raises:
        IncompleteError: others had it for so many seconds.
    """
    patience = Patience(kind, each, seconds, tell)
    room = placement_group([{kind: each}])
    try:
        while not room.wait(_BETWEEN_LOOKS):
            patience.wait()
        yield room
    finally:
        remove_placement_group(room)
