"""The Ray cluster: reached or started, and how many replicas of the model it carries."""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from igcam_batch.audit.arrival import fitting, may_grow, needed, of_nodes, wait_for
from igcam_batch.audit.stop import keeping_sigterm
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError, one_line, one_line_with_kind
from igcam_batch.words import amount_in_words, plural

CPUS_OF_A_REPLICA = 8  # a CNN's forward pass gains little from more
_ANSWERS_IN = 10  # seconds
_OR_LOCAL = "RAY_ADDRESS=local starts one on this machine"
_OF_JOBS = ("http://", "https://")  # as `ray job submit` wants it
_DECODE_CPUS = 0.02  # what a decoding task counts beside replicas on CPUs, which are hundreds of times as busy
_LEAST_CPUS = 0.25  # of a replica on CPUs
_NEARLY_ALL = 0.85  # of the usable CPUs; to keep the rest busy too, smaller replicas are not worth it


@dataclass(frozen=True)
class Replicas:
    """What the model runs on.

    Attributes:
        least, most: how many, of which the cluster decides.
        gpus: of each replica; 0: it runs on CPUs.
        cpus: of each replica, as Ray accounts for them.
        threads: torch's threads in each replica, or None for its default.
        decode_cpus: of each decoding task; other than `cpus`, or Ray Data would run both in one process.
        decoders: how many shards' images are decoded at once.
    """

    least: int
    most: int
    gpus: float
    cpus: float
    threads: int | None
    decode_cpus: float
    decoders: int

    @property
    def need(self) -> tuple[str, float]:
        """The resource that bounds how many there are, and how much of it each takes."""
        return ("GPU", self.gpus) if self.gpus else ("CPU", self.cpus)

    def __str__(self) -> str:
        """As people read it: '4 workers, 1 GPU each'."""
        count = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        each = (self.gpus, "GPU") if self.gpus else (self.threads or self.cpus, "CPU thread")
        return f"{count} {plural(self.most, 'worker')}, {amount_in_words(*each)} each"


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or `ray start` names, or start one on this machine for this process alone.

    One that another program started for itself is not joined: it ends with that program.

    Raises:
        InputError: a cluster is named and does not answer, or Ray does not start.
    """
    if ray.is_initialized():
        return
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's C++ side otherwise talks into the terminal
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # what Ray itself says of a process that died
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # what failed is told once, in one line
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with keeping_sigterm(), _stderr_aside():  # where it announces that level
        try:
            ray.init(include_dashboard=False, **quiet)
        except ConnectionError as error:
            raise InputError(f"no Ray cluster answers where one is named ({one_line(error)}); {_OR_LOCAL}") from None
        except ValueError as error:
            raise InputError(f"RAY_ADDRESS is none that Ray knows ({one_line(error)}); {_OR_LOCAL}") from None
        except Exception as error:  # Ray raises nearly anything, at times Exception itself
            if "Version mismatch" in str(error):
                raise InputError(
                    f"the cluster runs other versions of Ray or Python than this process ({one_line(error)}); install "
                    "the same on both"
                ) from None
            raise InputError(f"Ray could not be started or joined ({one_line_with_kind(error)})") from None


def _check_address(address: str) -> None:
    """Refuse what takes jobs and no drivers, and a HOST:PORT where nothing listens: Ray itself tries for minutes."""
    if address.startswith(_OF_JOBS):
        raise InputError(
            f"RAY_ADDRESS {address} takes jobs: `ray job submit -- igcam-batch ...` runs commands there; {_OR_LOCAL}"
        )
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdecimal():
        return  # `local`, `auto`, or Ray Client's ray://HOST:PORT
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_IN).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"RAY_ADDRESS {address}: no Ray cluster answers there ({error}); {_OR_LOCAL}") from None


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Keep what any code writes to file descriptor 2 back, and show it only where the block raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(stderr, aside.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def plan_replicas(
    config: AuditConfig, tell: Callable[[str], None] = lambda _line: None, deadline: float | None = None
) -> Replicas:
    """How many replicas of the model the cluster carries, and of what.

    Args:
        config: the settings.
        tell: told if GPUs are waited for, as those of an autoscaling cluster.
        deadline: the moment at which they are waited for no more, as `time.monotonic` counts; None: never.

    Raises:
        StoppedError: that moment came.
        InputError: GPUs are asked for that the cluster does not have, and does not come to have in time, or more
            workers than its CPUs can share.
    """
    gpus = config.gpus_per_worker if config.gpus_per_worker is not None else float(bool(of_nodes("GPU")))
    if not gpus:
        if not of_nodes("CPU") and config.gpus_per_worker == 0 and may_grow():
            wait_for("CPU", _least_of(config), 1, config.startup_timeout, tell, deadline)
        return _on_cpus(config, of_nodes("CPU"))
    if fitting(of_nodes("GPU"), gpus) < _least_of(config) and may_grow():
        wait_for("GPU", _least_of(config), gpus, config.startup_timeout, tell, deadline)
    there = fitting(of_nodes("GPU"), gpus)
    if there < _least_of(config):
        wanted = f"--gpus-per-worker {gpus:g}" + (f" --workers {config.workers}" if config.workers else "")
        needs = amount_in_words(needed(_least_of(config), gpus), "GPU")
        has = amount_in_words(sum(of_nodes("GPU")), "GPU")
        nodes = amount_in_words(sum(node["Alive"] for node in ray.nodes()), "node")
        cpus = amount_in_words(sum(of_nodes("CPU")), "CPU")
        raise InputError(
            f"{wanted}: needs {needs}; the cluster has {has} on {nodes} and {cpus}; --gpus-per-worker 0 runs on CPUs"
        )
    if not of_nodes("CPU") and may_grow():
        wait_for("CPU", 1, 1, config.startup_timeout, tell, deadline)
    if not of_nodes("CPU"):
        raise InputError(
            f"the cluster has {amount_in_words(sum(of_nodes('GPU')), 'GPU')} and no CPU, which decoding needs; start a "
            "node with some, as by `ray start --num-cpus`"
        )
    least, most = config.worker_range or (there, there)
    decoders = config.decode_cpus or _cpus_beside(most * gpus)
    return Replicas(least, most, gpus, cpus=0, threads=None, decode_cpus=1, decoders=decoders)


def _cpus_beside(gpus: float) -> int:
    """The CPUs there are, and for GPUs that are still to come as many as the nodes have beside those that are here.

    With more decoding than that an autoscaler would start nodes, GPUs and all, until it knows how slow explaining is.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU")]
    there, beside = (sum(node.get("CPU", 0.0) for node in some) for some in (nodes, with_gpus))
    gpus_there = sum(node["GPU"] for node in with_gpus)
    return max(1, int(there + beside / gpus_there * max(0.0, gpus - gpus_there)))


def _least_of(config: AuditConfig) -> int:
    """Replicas without which a run does not begin."""
    return config.worker_range[0] if config.worker_range else 1


def that_fit(replicas: Replicas, pieces: int) -> Replicas:
    """So many of planned replicas as pieces can occupy and the nodes that are alive now can carry, but one at least.

    A cluster may have lost nodes since they were planned, for a while or for good.
    """
    if replicas.gpus:
        there = fitting(of_nodes("GPU"), replicas.gpus)
    else:
        there = sum(int(cpus / replicas.cpus) for cpus in of_nodes("CPU"))
    most = max(1, min(replicas.most, pieces))
    decoders = min(replicas.decoders, pieces)
    return replace(replicas, least=max(1, min(replicas.least, most, there)), most=most, decoders=decoders)


def _on_cpus(config: AuditConfig, cpus_there: list[float]) -> Replicas:
    """Replicas of up to 8 CPUs, or as many as are asked for, all alike; nodes that are smaller than one decode.

    Each counts a little less than whole CPUs, so that a node full of them has room for a decoding task left: where a
    node is lost, Ray starts its replicas on the others.

    A range begins with what suits the nodes there are; more than these carry may find room on nodes that join.
    """
    if not cpus_there:
        raise InputError(
            "the cluster has no CPU and no GPU to work on; of one that grows, --gpus-per-worker 1 waits for the GPUs, "
            "and 0 for the CPUs"
        )
    suits = max(1, _room(cpus_there, _widest(cpus_there)))
    least, most = config.worker_range or (suits, suits)
    for_each = _share(cpus_there, min(max(suits, least), most))
    if for_each is None:
        raise InputError(
            f"--workers {config.workers}: the cluster has {amount_in_words(sum(cpus_there), 'CPU')}; "
            f"{_room_for_parts(cpus_there, _LEAST_CPUS)} at most"
        )
    cpus, threads = for_each
    return Replicas(least, most, 0, cpus, threads, decode_cpus=_DECODE_CPUS, decoders=2 * most)


def _widest(cpus_there: list[float]) -> int:
    """The most threads for each replica with which nearly all CPUs are at work that could be."""
    at_work = {threads: threads * _room(cpus_there, threads) for threads in range(CPUS_OF_A_REPLICA, 0, -1)}
    return next(threads for threads, busy in at_work.items() if busy >= _NEARLY_ALL * max(at_work.values()))


def _share(cpus_there: list[float], replicas: int) -> tuple[float, int] | None:
    """What each of so many replicas can have at most, in CPUs and threads; None where there are too few CPUs."""
    for threads in range(CPUS_OF_A_REPLICA, 0, -1):
        cpus = threads - _DECODE_CPUS
        if _room(cpus_there, threads) >= replicas and _still_decode(cpus_there, cpus):
            return cpus, threads
    for hundredths in range(99, round(100 * _LEAST_CPUS) - 1, -1):
        cpus = hundredths / 100
        if _room_for_parts(cpus_there, cpus) >= replicas and _still_decode(cpus_there, cpus):
            return cpus, 1
    return None


def _still_decode(cpus_there: list[float], cpus: float) -> bool:
    """Whether nodes that are full of replicas have room for a decoding task."""
    return all(there - int(there / cpus + 1e-9) * cpus > _DECODE_CPUS - 1e-9 for there in cpus_there)


def _room(cpus_there: list[float], threads: int) -> int:
    """How many replicas fit that have whole CPUs."""
    return sum(int(there) // threads for there in cpus_there)


def _room_for_parts(cpus_there: list[float], cpus: float) -> int:
    """How many replicas fit that have a part of a CPU, beside one that decodes."""
    return sum(int((there - _DECODE_CPUS) / cpus + 1e-9) for there in cpus_there)
