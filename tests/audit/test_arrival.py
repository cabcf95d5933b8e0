"""Waiting for what a cluster is to bring, by a clock of its own; `test_autoscaling.py` has nodes that come."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from igcam_batch.audit import arrival
from igcam_batch.audit.arrival import Patience, PatienceForImages, fitting, needed, starting, wait_for
from igcam_batch.audit.errors import IncompleteError, StoppedError


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
        "waiting up to 200 s for GPUs: 2 needed, 0 there",
        "waiting up to 140 s more for GPUs: 2 needed, 0 there",
        "waiting up to 80 s more for GPUs: 2 needed, 1 there",
        "waiting up to 20 s more for GPUs: 2 needed, 1 there",
    ]


def test_a_deadline_ends_it_as_it_ends_a_run(waiting: Callable[..., tuple[Clock, list[str]]]) -> None:
    clock, asked = waiting(1)
    with pytest.raises(StoppedError, match=r"^the --deadline has come while GPUs were waited for \(4 needed, 1 th"):
        wait_for("GPU", 4, 1, 600, lambda _line: None, deadline=5.0)
    assert clock.now == 5
    assert asked == ["asked", "taken back"]
    waiting(0)
    wait_for("GPU", 1, 1, 600, lambda _line: None, deadline=-1.0)  # there is nothing to wait for


@pytest.mark.parametrize("each", [1, 0.6, 0.5, 0.4, 0.34, 0.3, 0.1])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 8, 64])
def test_so_many_gpus_are_needed_as_replicas_fit_on_and_no_more(replicas: int, each: float) -> None:
    gpus = needed(replicas, each)
    assert fitting([1.0] * gpus, each) >= replicas
    assert fitting([1.0] * (gpus - 1), each) < replicas


def test_workers_wait_for_images_as_long_as_some_cpu_may_decode_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cpus, told = Clock(), [1.0], list[str]()
    monkeypatch.setattr(arrival, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(arrival, "of_nodes", lambda _kind: cpus)
    monkeypatch.setattr(arrival, "ray", SimpleNamespace(available_resources=lambda: {"CPU": 0.0}))
    monkeypatch.setattr(arrival, "starting", lambda: 0)
    patience = PatienceForImages("CPU", 1, 100, told.append)
    for clock.now in (59, 61, 130):  # others have it, or it is slow
        patience.wait()
    assert told == ["no worker has an image: decoding needs 1 CPU, and 0 of the cluster's 1 are free"] * 2
    told.clear()
    cpus.clear()
    clock.now = 229
    patience.wait()
    clock.now = 231
    with pytest.raises(IncompleteError, match=r"^no image was decoded for 1 min 40 s: decoding needs 1 CPU, and 0 of"):
        patience.wait()
    patience.renew()
    patience.wait()


def test_no_worker_is_waited_for_in_vain_that_has_its_place_and_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, count, told = Clock(), 1, list[str]()
    monkeypatch.setattr(arrival, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(arrival, "of_nodes", lambda _kind: [1.0])
    monkeypatch.setattr(arrival, "ray", SimpleNamespace(available_resources=lambda: {"GPU": 0.0}))
    monkeypatch.setattr(arrival, "starting", lambda: count)
    patience = Patience("GPU", 1, 20, told.append)
    for clock.now in (19, 21, 61, 100):
        patience.wait()
    needs = "each needs 1 GPU, and 0 of the cluster's 1 are free"
    assert told == [f"no worker runs: {needs}; 1 worker is starting"]
    clock.now, count = 119, 0  # its process died, and others have what it had
    patience.wait()
    clock.now = 121
    with pytest.raises(IncompleteError, match=f"^no worker ran for 20 s: {needs}$"):
        patience.wait()


@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_starts_from_when_it_has_its_place_until_it_is_constructed(tmp_path: Path) -> None:
    class Slow:  # no other process knows it by its name
        __qualname__ = "MapWorker(Map(Slow))"  # as of Ray Data's

        def __init__(self, may: Path) -> None:
            while not may.exists():
                time.sleep(0.01)

        def is_there(self) -> bool:
            return True

    actors = [ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Slow).remote(tmp_path / "may") for _ in range(2)]
    until = time.monotonic() + 60
    while not starting():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert starting() == 1  # there is no room for two
    (tmp_path / "may").touch()
    assert ray.get(actors[0].is_there.remote())
    ray.kill(actors[0])
    assert ray.get(actors[1].is_there.remote())
    assert starting() == 0
    ray.kill(actors[1])
