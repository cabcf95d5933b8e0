"""Real processes, really killed: a worker, a node, the driver. Afterwards every image is there once, as if nothing was.

IGCAM_KILLS=20 kills the driver so many times rather than a few.
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

import psutil
import pytest
from drawings import picture
from promise import assert_same_but
from ray.cluster_utils import Cluster

from igcam_batch.cli.main import EXIT_STOPPED

pytestmark = pytest.mark.xdist_group("ray")
TESTS = Path(__file__).parents[1]
IMAGES, SHARD = 48, 4
KILLS = int(os.environ.get("IGCAM_KILLS", "4"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two nodes, each a raylet of its own with two CPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        picture(number).save(root / f"{number:03d}.png")
    return root


Audit = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(cluster: Cluster, images: Path) -> Iterator[Audit]:
    """Begin an audit, as a person would, and leave it running: `start(output)`."""
    begun: list[subprocess.Popen[str]] = []

    def run(output: Path, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "igcam_batch", "audit", str(images), str(output)]
        settings = ["--model", "factories:slow", "--steps", "3", "--shard-size", str(SHARD), "--batch-size", "1"]
        process = subprocess.Popen(
            [*command, *settings, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS), "RAY_ADDRESS": cluster.address},
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    command = [sys.executable, "-m", "igcam_batch", "audit", str(images), str(output)]
    settings = ["--model", "factories:slow", "--steps", "3", "--shard-size", str(SHARD), "--batch-size", "1"]
    environment = os.environ | {"PYTHONPATH": str(TESTS), "RAY_ADDRESS": cluster.address}
    subprocess.run([*command, *settings], check=True, capture_output=True, env=environment, timeout=300)
    return output


def commits(output: Path) -> int:
    return len(list(output.glob("scores/*.parquet")))


def wait_for_commits(process: "subprocess.Popen[str]", output: Path, count: int) -> None:
    until = time.monotonic() + 200
    while commits(output) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def explainers() -> list[psutil.Process]:
    """The processes of this machine's Ray that hold a model; the driver is a child of this test, the nodes are too."""
    return [
        each for each in psutil.process_iter(["cmdline"]) if "ExplainShards" in " ".join(each.info["cmdline"] or [])
    ]


def test_a_worker_that_is_killed_costs_nothing(start: Audit, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_commits(process, output, 2)
    for worker in explainers()[:2]:
        worker.kill()
    code, out, err = ended(process)
    assert code == 0, err
    assert f"{IMAGES} images, {IMAGES} rows, 0 failures" in out
    assert_same_but(output, undisturbed)


def test_a_driver_that_is_killed_at_any_moment_is_resumed(start: Audit, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    chance = random.Random(0)
    for _ in range(KILLS):
        process = start(output)
        if chance.random() < 0.3:  # while it begins
            time.sleep(chance.uniform(0, 8))
        else:
            before = commits(output)
            until = time.monotonic() + 60
            while commits(output) == before and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
    code, _, err = ended(start(output))
    assert code == 0, err
    assert_same_but(output, undisturbed)
    assert json.loads((output / "run.json").read_text())["state"] == "finished"


def test_sigterm_ends_at_a_shard_with_a_code_that_says_resumable(
    start: Audit, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_commits(process, output, 2)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == EXIT_STOPPED, err
    assert "images remain; what was committed is kept, and the same command goes on from there" in err
    record = json.loads((output / "run.json").read_text())
    done = commits(output)
    assert 2 <= done < IMAGES // SHARD
    assert (record["state"], record["counts"]["scored"]) == ("stopped", done * SHARD)
    code, out, err = ended(start(output))
    assert code == 0, err
    assert f"{IMAGES - done * SHARD} of the images in this run" in out
    assert_same_but(output, undisturbed)


def test_a_node_that_is_killed_costs_nothing(cluster: Cluster, start: Audit, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_commits(process, output, 2)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    code, _, err = ended(process)
    cluster.add_node(num_cpus=2)
    assert code == 0, err
    assert_same_but(output, undisturbed)
