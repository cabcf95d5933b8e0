"""Waiting for what a cluster is to bring, by a clock of its own; `test_autoscaling.py` has nodes that come."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from igcam_batch.audit import arrival
from igcam_batch.audit.arrival import wait_for
from igcam_batch.audit.errors import StoppedError


class Clock:
    """Time that passes only where it is slept through; a GPU joins at some moments."""

    def __init__(self, *joining: float) -> None:
        self.now, self.joining = 0.0, joining

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def gpus(self, _kind: str) -> list[float]:
        return [1.0 for moment in self.joining if moment <= self.now]


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Clock, list[str]]]:
    """Have GPUs join at some seconds; a clock, and what is asked of Ray: `waiting(10, 20)`."""

    def joining(*moments: float) -> tuple[Clock, list[str]]:
        clock, asked = Clock(*moments), list[str]()
        monkeypatch.setattr(arrival, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
        monkeypatch.setattr(arrival, "of_nodes", clock.gpus)
        monkeypatch.setattr(arrival, "placement_group", lambda _bundles: asked.append("asked"))
        monkeypatch.setattr(arrival, "remove_placement_group", lambda _group: asked.append("taken back"))
        return clock, asked

    return joining


def test_it_ends_when_all_are_there_and_takes_the_wish_back(waiting: Callable[..., tuple[Clock, list[str]]]) -> None:
    clock, asked = waiting(3, 7)
    told: list[str] = []
    wait_for("GPU", 2, 1, 600, told.append)
    assert clock.now == 7
    assert told == ["waiting up to 600 s for GPUs: 2 needed, 0 there"]
    assert asked == ["asked", "taken back"]


def test_it_says_every_minute_how_many_are_there(waiting: Callable[..., tuple[Clock, list[str]]]) -> None:
    clock, _ = waiting(70)
    told: list[str] = []
    wait_for("GPU", 3, 0.5, 200, told.append)
    assert clock.now == 200
    assert told == [
        "waiting up to 200 s for GPUs: 1.5 needed, 0 there",
        "waiting up to 140 s more for GPUs: 1.5 needed, 0 there",
        "waiting up to 80 s more for GPUs: 1.5 needed, 1 there",
        "waiting up to 20 s more for GPUs: 1.5 needed, 1 there",
    ]


def test_a_deadline_ends_it_as_it_ends_a_run(waiting: Callable[..., tuple[Clock, list[str]]]) -> None:
    clock, asked = waiting(1)
    with pytest.raises(StoppedError, match=r"^the --deadline has come while GPUs were waited for \(4 needed, 1 th"):
        wait_for("GPU", 4, 1, 600, lambda _line: None, deadline=5.0)
    assert clock.now == 5
    assert asked == ["asked", "taken back"]
    waiting(0)
    wait_for("GPU", 1, 1, 600, lambda _line: None, deadline=-1.0)  # there is nothing to wait for
