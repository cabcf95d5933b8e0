"""Finished runs of the small network, for tests of what is made of a run's tables."""

from pathlib import Path
from typing import Any

from igcam_batch.audit.job import run_audit
from igcam_batch.config import load_config

METHODS = ("grad-cam", "integrated-grad-cam")


def finished_run(images: Path, output: Path, **settings: Any) -> str:
    """OUTPUT of an audit of `images` by two methods, in shards of two images; needs the fixture `ray_cluster`."""
    config = {"model": "factories:small_cnn", "steps": 3, "shard-size": 2, "method": METHODS, "target": "labels"}
    config |= {"workers": 1}  # a second takes longer to start than the images do
    places = {"input": str(images), "output": str(output)}
    run_audit(load_config(config | places | {name.replace("_", "-"): value for name, value in settings.items()}))
    return str(output)
