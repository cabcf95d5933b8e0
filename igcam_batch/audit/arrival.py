"""Nodes that a cluster brings when they are asked for: by its autoscaler, or as they start one after another."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

_BETWEEN_LOOKS = 1.0  # seconds


def may_grow() -> bool:
    """Whether nodes may join: not where this process started Ray for itself."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    return node is not None and not node.head


def gpus_of_nodes() -> list[float]:
    """GPUs of each node that is alive."""
    return [node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]]


def fitting(gpus_there: list[float], gpus: float) -> int:
    """How many replicas of so many GPUs each fit on nodes with these."""
    return sum(int(there / gpus) for there in gpus_there)


def wait_for_gpus(replicas: int, gpus: float, seconds: float, tell: Callable[[str], None]) -> None:
    """Ask for the GPUs of some replicas, and wait until they are there, or for so many seconds.

    Args:
        replicas: how many.
        gpus: of each.
        seconds: at most.
        tell: told, once, what is waited for.
    """
    until = time.monotonic() + seconds
    tell(f"waiting up to {seconds:.0f} s for GPUs: {replicas * gpus:g} needed, {sum(gpus_of_nodes()):g} there")
    request_resources(bundles=[{"GPU": gpus}] * replicas)
    try:
        while fitting(gpus_of_nodes(), gpus) < replicas and time.monotonic() < until:
            time.sleep(_BETWEEN_LOOKS)
    finally:
        request_resources(bundles=[])  # the replicas hold what they use; what stays idle may go
