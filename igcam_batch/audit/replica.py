"""The Ray actor that holds a copy of the model, pinned to a GPU where there is one."""

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

import torch

from igcam_batch.audit.environment import settle
from igcam_batch.audit.work import Work
from igcam_batch.worker.allocator import keep_freed_memory
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.explain import ShardExplainer


@dataclass(frozen=True)
class Replica:
    """Where a copy of the model ran.

    Attributes:
        node: host name.
        pid: of the process.
        device: cuda or cpu.
        gpu: CUDA_VISIBLE_DEVICES as the process saw it, or '' without a GPU.
    """

    node: str
    pid: int
    device: str
    gpu: str


class ExplainShards:
    """A decoded shard as a row -> its outcome and its replica as a row, the tables committed.

    Args:
        work: what every process is told.
        gpus: GPUs that Ray pinned this process to.
        threads: torch's threads, or None for its default.
    """

    def __init__(self, work: Work, gpus: float, threads: int | None) -> None:
        settle(work.environment)
        if threads is not None:
            torch.set_num_threads(threads)
        device = "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"
        if device == "cpu":
            keep_freed_memory()
        pinned = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus > 0 else ""
        self._replica = Replica(socket.gethostname(), os.getpid(), device, pinned)
        self._explain = ShardExplainer(work.settings(), device, work.labels, work.sha256, share=min(gpus, 1.0) or 1.0)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Explain and commit one shard."""
        outcome = self._explain(DecodedShard.from_row(row))
        return asdict(outcome) | asdict(self._replica)
