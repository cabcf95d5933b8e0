"""Real processes, really killed: a worker, a node, the driver. Afterwards every image is there once, as if nothing was.

IGCAM_KILLS=20 kills the driver so many times rather than twice.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawings import picture
from factories import Slow, SmallCnn
from promise import assert_same_but, explain_undisturbed
from ray.cluster_utils import Cluster
from ray_workers import explainers

from igcam_batch.cli.endings import EXIT_INPUT, EXIT_STOPPED
from igcam_batch.config import load_config

pytestmark = pytest.mark.xdist_group("kills")
TESTS = Path(__file__).parents[1]
KILLS = max(2, int(os.environ.get("IGCAM_KILLS", "2")))
SHARD = 2
SHARDS = 8 + 2 * KILLS  # so that each driver has something left to do

Driver = subprocess.Popen[str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes, each a raylet of its own that carries one copy of the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(SHARD * SHARDS):
        picture(number).save(root / f"{number:03d}.png")
    return root


def settings(images: Path, output: Path) -> dict[str, Any]:
    return {"input": str(images), "output": str(output), "model": "factories:slow"} | {
        "steps": 3,
        "shard-size": SHARD,
        "batch-size": 1,
    }


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    config = load_config(settings(images, tmp_path_factory.mktemp("undisturbed") / "out"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slow, "forward", SmallCnn.forward)  # the same, and nothing is to happen meanwhile
        return explain_undisturbed(config)


@pytest.fixture
def start(cluster: Cluster, images: Path) -> Iterator[Callable[[Path], Driver]]:
    """Begin an audit, as a person would, and leave it running: `start(output)`."""
    begun: list[Driver] = []

    def run(output: Path) -> Driver:
        flags = {name: str(value) for name, value in settings(images, output).items()}
        command = [sys.executable, "-m", "igcam_batch", "audit", flags.pop("input"), flags.pop("output")]
        for name, value in flags.items():
            command += [f"--{name}", value]
        environment = os.environ | {"PYTHONPATH": str(TESTS), "RAY_ADDRESS": cluster.address}
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def commits(output: Path) -> int:
    return len(list(output.glob("scores/*.parquet")))


def wait_until(process: Driver, true: Callable[[], bool]) -> None:
    until = time.monotonic() + 200
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def wait_for_commits(process: Driver, output: Path, count: int) -> None:
    wait_until(process, lambda: commits(output) >= count)


def wait_for_claim(process: Driver, output: Path) -> None:
    """Until OUTPUT is the driver's own, and it plans, or looks for what is left."""
    claim = output / ".claim"
    wait_until(process, lambda: claim.exists() and f"pid {process.pid}," in claim.read_text())


def ended(process: Driver) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=500)
    return process.returncode, out, err


def test_a_worker_that_is_killed_costs_nothing_and_a_second_driver_is_refused(
    start: Callable[[Path], Driver], undisturbed: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_claim(process, output)
    second = start(output)
    wait_for_commits(process, output, 1)
    explainers()[0].kill()
    code, _, err = ended(process)
    assert code == 0, err
    other, _, refusal = ended(second)
    assert other == EXIT_INPUT, refusal
    assert f"{output}: another igcam-batch writes to it (host " in refusal
    assert_same_but(output, undisturbed)


def test_a_node_that_is_killed_costs_nothing(
    cluster: Cluster, start: Callable[[Path], Driver], undisturbed: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_commits(process, output, 2)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    code, _, err = ended(process)
    cluster.add_node(num_cpus=2)
    assert code == 0, err
    assert_same_but(output, undisturbed)


def test_a_driver_that_is_killed_at_any_moment_or_asked_to_stop_is_resumed(
    start: Callable[[Path], Driver], undisturbed: str, tmp_path: Path
) -> None:
    output, chance = tmp_path / "out", random.Random(0)
    killed = {"beginning": 0, "explaining": 0}
    for number in range(KILLS):
        process = start(output)
        wait_for_claim(process, output)
        before = commits(output)
        if number % 2:
            wait_for_commits(process, output, before + 1)
            time.sleep(chance.uniform(0, 0.3))
        else:
            time.sleep(chance.uniform(0, 3))
        process.kill()
        assert process.wait() == -signal.SIGKILL  # it had not come to its end
        killed["explaining" if commits(output) > before else "beginning"] += 1
    assert all(killed.values()), killed

    process = start(output)
    wait_for_claim(process, output)
    before = commits(output)
    wait_for_commits(process, output, before + 1)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == EXIT_STOPPED, err
    assert "images remain; what was committed is kept, and the same command goes on from there" in err
    record, done = json.loads((output / "run.json").read_text()), commits(output)
    assert before < done < SHARDS
    assert (record["state"], record["counts"]["scored"]) == ("stopped", done * SHARD)
    assert not list((output / "plan").rglob("stop"))

    code, out, err = ended(start(output))
    assert code == 0, err
    assert f"{(SHARDS - done) * SHARD} of the images in this run" in out
    assert json.loads((output / "run.json").read_text())["state"] == "finished"
    assert_same_but(output, undisturbed)
