"""Whole audits in this process, for tests of what tables hold, and of what is made of them.

They are planned, explained and recorded as on a cluster, but by a worker that is here: Ray takes seconds to start one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from igcam_batch.audit import job, planning, replica
from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.decoding import decode_shard
from igcam_batch.audit.job import Summary
from igcam_batch.audit.replica import ExplainShards, Report
from igcam_batch.audit.watch import Watch
from igcam_batch.audit.work import Work
from igcam_batch.config import load_config
from igcam_batch.tables import Piece

METHODS = ("grad-cam", "integrated-grad-cam")
ONE = Replicas(least=1, most=1, gpus=0, cpus=1, threads=None, decode_cpus=0.02, decoders=1)


def finished_run(images: Path | str, output: Path, **settings: Any) -> str:
    """OUTPUT of an audit of `images` with the small network by two methods, in shards of two images."""
    defaults = {"steps": 3, "shard_size": 2, "method": METHODS, "target": "labels"}
    return audit_here(images, output, **defaults | settings).output


def audit_here(images: Path | str, output: Path, **settings: Any) -> Summary:
    """Run an audit of `images` with the small network."""
    settings = {"model": "factories:small_cnn", "steps": 5, "input": str(images), "output": str(output)} | settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "keep_freed_memory", lambda: None)  # it would, until the tests' process ends
        patch.setattr(job, "execute", explain_here)
        for module in (job, planning):
            patch.setattr(module, "connect", lambda: None)
            patch.setattr(module, "plan_replicas", lambda *_: ONE)
        return job.run_audit(load_config({name.replace("_", "-"): value for name, value in settings.items()}))


def explain_here(
    work: Work,
    replicas: Replicas,
    watch: Watch,
    pieces: Sequence[Piece],
    alone: bool,
    died: Callable[[str], None],
    tell: Callable[[str], None],
) -> Iterator[Report]:
    """What `igcam_batch.audit.execute.execute` does on a cluster."""
    explain = ExplainShards(work, replicas.gpus, replicas.threads)
    for piece in pieces:
        yield Report.from_row(explain(decode_shard(asdict(piece), work)))
