"""The Ray actor that holds a copy of the model, pinned to a GPU where there is one."""

import os
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from igcam_batch.audit.environment import settle
from igcam_batch.audit.metrics import ReplicaMetrics
from igcam_batch.audit.stop import stop_asked
from igcam_batch.audit.trouble import NONE, STOPPED, Trouble
from igcam_batch.audit.work import Work
from igcam_batch.storage import open_store
from igcam_batch.tables import CONTROL, Piece
from igcam_batch.worker.allocator import keep_freed_memory
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.outcome import Outcome

_DRIVER = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Replica:
    """Where a copy of the model ran.

    Attributes:
        node: host name.
        pid: of the process.
        device: cuda or cpu.
        gpu: CUDA_VISIBLE_DEVICES as the process saw it, or '' without a GPU.
        card: what kind of GPU that is, as its driver says, or '' on CPUs.
    """

    node: str
    pid: int
    device: str
    gpu: str
    card: str = ""

    def warning(self) -> str:
        """What is odd about it, and mostly about others like it, for the person who waits; '' where nothing is."""
        if self.gpu and self.device == "cpu":
            return (
                f"torch finds no CUDA on {self.node} (CUDA_VISIBLE_DEVICES={self.gpu}), and runs on CPUs; run.json "
                "names the device of every worker in the end"
            )
        return ""


@dataclass(frozen=True)
class Report:
    """What a replica says of a piece.

    Attributes:
        outcome: what became of it; nothing where there was trouble.
        replica: who says so.
        trouble: why it was not explained, if it was not.
    """

    outcome: Outcome
    replica: Replica
    trouble: Trouble

    def to_row(self) -> dict[str, Any]:
        """As a row of plain values."""
        of_outcome = asdict(self.outcome)
        piece: dict[str, Any] = of_outcome.pop("piece")
        return piece | of_outcome | asdict(self.replica) | asdict(self.trouble)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Report":
        """From what `to_row` gave."""

        def of(kind: type) -> dict[str, Any]:
            return {field.name: row[field.name] for field in fields(kind) if field.name in row}

        return cls(Outcome(Piece(**of(Piece)), **of(Outcome)), Replica(**of(Replica)), Trouble(**of(Trouble)))


def set_up(work: Work, gpus: float, threads: int | None) -> tuple[str, ShardExplainer]:
    """Make this process one that explains, and load the model.

    Args:
        work: what every process is told.
        gpus: GPUs that Ray pinned this process to.
        threads: torch's threads, or None for its default.

    Returns:
        The device, as torch calls it, and the model on it.

    Raises:
        RuntimeError: the node's GPU is of no use to torch.
    """
    settle(work.environment)
    if gpus > 0 and not torch.cuda.is_available() and _DRIVER.exists():  # else Ray was only told of a GPU
        raise RuntimeError(
            f"{socket.gethostname()} has a GPU on which torch {torch.__version__} finds no CUDA; `nvidia-smi` there "
            "says which CUDA its driver knows"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    device = "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"
    if device == "cpu":
        keep_freed_memory()
    share = min(gpus, 1.0) or 1.0
    return device, ShardExplainer(work.settings(), device, work.plan, work.labels, work.sha256, share)


class ExplainShards:
    """A decoded piece as a row -> its `Report` as a row, the tables committed or put aside.

    Args:
        work: what every process is told.
        gpus: GPUs that Ray pinned this process to.
        threads: torch's threads, or None for its default.
    """

    def __init__(self, work: Work, gpus: float, threads: int | None) -> None:
        device, self._explain = set_up(work, gpus, threads)
        pinned = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus > 0 else ""
        card = torch.cuda.get_device_name() if device == "cuda" else ""
        self._replica = Replica(socket.gethostname(), os.getpid(), device, pinned, card)
        settings = work.settings()
        self._output, self._plan = open_store(settings.output), work.plan
        self._metrics = ReplicaMetrics(settings.output)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Explain one piece."""
        with self._metrics.shard():
            return self._report(row).to_row()

    def _report(self, row: dict[str, Any]) -> Report:
        decoded = DecodedShard.from_row(row)
        trouble = Trouble(**{field.name: row[field.name] for field in fields(Trouble)})
        outcome = Outcome(decoded.piece, 0, 0, 0.0)
        if not trouble:
            try:
                if stop_asked(self._output, self._plan):
                    trouble = STOPPED
                else:
                    outcome = self._explain(decoded)
                    if decoded.piece.revision != CONTROL:  # that is not explained for its own sake
                        scored = decoded.piece.images - outcome.failed
                        self._metrics.done(scored, outcome.failed, outcome.rows, outcome.seconds)
            except Exception as error:  # it travels as a value: an exception would only be logged by Ray
                trouble = Trouble.of(error)
        return Report(outcome, self._replica, trouble or NONE)
