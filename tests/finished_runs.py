"""Finished runs of the small network, for tests of what is made of a run's tables.

They are planned, explained and recorded as on a cluster, but in this process: a worker of Ray's takes seconds to start.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from igcam_batch.audit import job, planning, replica
from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.decoding import decode_shard
from igcam_batch.audit.replica import ExplainShards, Report
from igcam_batch.audit.work import Work
from igcam_batch.config import load_config
from igcam_batch.tables import Piece

METHODS = ("grad-cam", "integrated-grad-cam")
ONE = Replicas(least=1, most=1, gpus=0, cpus=1, threads=None, decode_cpus=0.02, decoders=1)


def finished_run(images: Path, output: Path, **settings: Any) -> str:
    """OUTPUT of an audit of `images` by two methods, in shards of two images."""
    config = {"model": "factories:small_cnn", "steps": 3, "shard-size": 2, "method": METHODS, "target": "labels"}
    places = {"input": str(images), "output": str(output)}
    settings = {name.replace("_", "-"): value for name, value in settings.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "keep_freed_memory", lambda: None)  # it would, until the tests' process ends
        patch.setattr(job, "execute", explain_here)
        for module in (job, planning):
            patch.setattr(module, "connect", lambda: None)
            patch.setattr(module, "plan_replicas", lambda *_: ONE)
        job.run_audit(load_config(config | places | settings))
    return str(output)


def explain_here(
    work: Work, replicas: Replicas, pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]
) -> Iterator[Report]:
    """What `igcam_batch.audit.execute.execute` does on a cluster."""
    explain = ExplainShards(work, replicas.gpus, replicas.threads)
    for piece in pieces:
        yield Report.from_row(explain(decode_shard(asdict(piece), work)))
