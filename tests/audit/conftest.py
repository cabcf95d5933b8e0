"""Audits as tests run them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import finished_runs
import pytest

from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.config import load_config


@pytest.fixture
def audit(ray_cluster: None, tmp_path: Path) -> Callable[..., Summary]:
    """Run an audit of a directory with the small network: `audit(images, steps=5)`."""

    def run(images: Path, output: Path | None = None, **settings: Any) -> Summary:
        defaults = {"model": "factories:small_cnn", "steps": 5, "shard-size": 3}
        defaults |= {"workers": 1}  # a second takes longer to start than the images do
        places = {"input": str(images), "output": str(output or tmp_path / "out")}
        return run_audit(load_config(defaults | places | {k.replace("_", "-"): v for k, v in settings.items()}))

    return run


@pytest.fixture
def audit_here(tmp_path: Path) -> Callable[..., Summary]:
    """The same without Ray, for what does not depend on who explains: `audit_here(images, steps=5)`."""

    def run(images: Path, output: Path | None = None, **settings: Any) -> Summary:
        return finished_runs.audit_here(images, output or tmp_path / "out", **{"shard_size": 3} | settings)

    return run
