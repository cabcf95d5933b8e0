"""The Ray cluster: reached or started, and how many replicas of the model it carries."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError

_CPUS_OF_A_REPLICA = 8  # a CNN's forward pass gains little from more


@dataclass(frozen=True)
class Replicas:
    """What the model runs on.

    Attributes:
        least, most: size of the actor pool.
        gpus: of each replica; 0: it runs on CPUs.
        cpus: of each replica, as Ray accounts for them.
        threads: torch's threads in each replica, or None for its default.
        decode_cpus: of each decoding task; other than `cpus`, or Ray Data would run both in one process.
    """

    least: int
    most: int
    gpus: float
    cpus: float
    threads: int | None
    decode_cpus: float

    def __str__(self) -> str:
        """As people read it: '4 workers, 1 GPU each'."""
        count = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        each = _amount(self.gpus, "GPU") if self.gpus else _amount(self.threads or self.cpus, "CPU thread")
        return f"{count} worker{'s' if self.most > 1 else ''}, {each} each"


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or `ray start` names, or start one on this machine.

    Raises:
        InputError: a cluster is named and does not answer.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's C++ side otherwise talks into the terminal
    try:
        with _stderr_aside():  # where it announces that level
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        address = os.environ.get("RAY_ADDRESS", "of `ray start`")
        raise InputError(f"RAY_ADDRESS {address}: no Ray cluster answers there ({_one_line(error)})") from None


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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def plan_replicas(config: AuditConfig) -> Replicas:
    """How many replicas of the model the cluster carries, and of what.

    Raises:
        InputError: GPUs are asked for that the cluster does not have.
    """
    resources = ray.cluster_resources()
    gpus_there = resources.get("GPU", 0.0)
    gpus = config.gpus_per_worker if config.gpus_per_worker is not None else float(gpus_there > 0)
    cpus_there = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    if not gpus:
        return _on_cpus(config, [cpus for cpus in cpus_there if cpus])
    fitting = int(gpus_there / gpus)
    least, most = config.worker_range or (fitting, fitting)
    if fitting < max(least, 1):
        wanted = f"--gpus-per-worker {gpus:g}" + (f" --workers {config.workers}" if config.workers else "")
        raise InputError(
            f"{wanted}: needs {_amount(gpus * max(least, 1), 'GPU')}; the cluster has {_amount(gpus_there, 'GPU')} "
            f"and {_amount(sum(cpus_there), 'CPU')}; --gpus-per-worker 0 runs on CPUs"
        )
    return Replicas(least, most, gpus, cpus=0, threads=None, decode_cpus=1)


def _on_cpus(config: AuditConfig, cpus_there: list[float]) -> Replicas:
    """Replicas of up to 8 CPUs, one CPU of each node being left for decoding."""
    smallest = min(cpus_there)
    if smallest < 2:
        cpus, decode_cpus = 0.5, 0.25
    else:
        cpus, decode_cpus = float(min(int(smallest) - 1, _CPUS_OF_A_REPLICA)), 0.5
    fitting = sum(max(1, int((there - decode_cpus) // cpus)) for there in cpus_there)
    least, most = config.worker_range or (fitting, fitting)
    if least > fitting and cpus > 1:
        cpus = max(1.0, (sum(cpus_there) - len(cpus_there)) // least)
    replicas_of_a_node = max(1, round(most / len(cpus_there)))
    return Replicas(least, most, 0, cpus, threads=max(1, int(smallest) // replicas_of_a_node), decode_cpus=decode_cpus)


def _amount(number: float, thing: str) -> str:
    return f"{number:g} {thing}{'' if number == 1 else 's'}"
