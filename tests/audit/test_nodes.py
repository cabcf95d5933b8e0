"""Clusters of several raylets on this machine, with logical GPUs: who runs where, and a node that comes.

One that goes is in `test_kills.py`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

import igcam_batch
from igcam_batch.cli.endings import EXIT_STOPPED

pytestmark = pytest.mark.xdist_group("nodes")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """One that has nothing to work on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def cluster(head: Cluster) -> Iterator[Cluster]:
    """The head alone, until a test adds nodes."""
    yield head
    for node in head.worker_nodes.copy():
        head.remove_node(node)


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Begin an audit on the cluster, as a person would: `start(images, output, "--workers", "2")`."""
    begun: list[subprocess.Popen[str]] = []

    def run(images: Path, output: Path, *flags: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "igcam_batch", "audit", str(images), str(output), *flags]
        environment = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(TESTS)}
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def finished(process: "subprocess.Popen[str]", output: Path) -> list[dict[str, Any]]:
    """The workers that took part in an audit that ended well."""
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    workers: list[dict[str, Any]] = json.loads((output / "run.json").read_text())["workers"]
    return workers


def wait_until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 200
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def last_words_without(node: Any, cluster: Cluster, process: "subprocess.Popen[str]", output: Path) -> str:
    """What an audit says at its end when a node that it needs is lost in mid-run."""
    wait_until(lambda: len(list(output.glob("scores/*.parquet"))) > 1, process)
    cluster.remove_node(node, allow_graceful=False)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, ""), err
    return err.splitlines()[-1].removeprefix("igcam-batch: ")


SLOW = ("--model", "factories:slow", "--shard-size", "2", "--batch-size", "1", "--gpus-per-worker", "1")


def test_every_gpu_of_unequal_nodes_has_an_actor_of_its_own_and_nodes_without_one_decode(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=0, num_gpus=2)
    cluster.add_node(num_cpus=0, num_gpus=1)
    cluster.add_node(num_cpus=1, num_gpus=0)  # where all decoding is
    images, output = pictures(*(f"{number:02}.png" for number in range(36))), tmp_path / "out"
    workers = finished(start(images, output, *SLOW, "--steps", "15"), output)
    assert sorted(worker["gpu"] for worker in workers) == ["0", "0", "1"]
    assert len({worker["pid"] for worker in workers}) == 3
    assert len(set(igcam_batch.read_scores(str(output))["image_id"].to_pylist())) == 36


def test_two_actors_share_a_gpu(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1, num_gpus=1)
    images, output = pictures(*(f"{number:02}.png" for number in range(24))), tmp_path / "out"
    workers = finished(start(images, output, *SLOW[:-1], "0.5", "--steps", "10"), output)
    assert [worker["gpu"] for worker in workers] == ["0", "0"]
    assert len({worker["pid"] for worker in workers}) == 2
    assert len(set(igcam_batch.read_scores(str(output))["image_id"].to_pylist())) == 24


def test_a_node_that_joins_in_mid_run_takes_part(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1, num_gpus=1)
    images, output = pictures(*(f"{number:03}.png" for number in range(40))), tmp_path / "out"
    process = start(images, output, *SLOW, "--steps", "20", "--workers", "1:2")
    wait_until(lambda: len(list(output.glob("scores/*.parquet"))) > 1, process)
    cluster.add_node(num_cpus=1, num_gpus=1)
    workers = finished(process, output)
    assert len({worker["pid"] for worker in workers}) == 2
    scored = igcam_batch.read_scores(str(output))["image_id"].to_pylist()
    assert sorted(scored) == sorted(path.name for path in images.iterdir())


def test_what_no_worker_can_load_is_told_once_with_the_node_that_lacks_it(
    cluster: Cluster,
    start: Callable[..., Any],
    pictures: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    monkeypatch.setenv("IGCAM_TEST_DRIVER", "1")  # which nodes do not have
    settings = ("--model", "factories_broken:only_in_the_driver", "--gpus-per-worker", "0.5")
    process = start(pictures("a.png", "b.png"), tmp_path / "out", *settings, "--shard-size", "1")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    (line,) = [line for line in err.splitlines() if "best.pth" in line]
    assert line == err.splitlines()[-1]
    assert line.startswith(f"igcam-batch: a worker failed on {node.node_ip_address}: FileNotFoundError: ")


def test_without_a_node_that_could_explain_a_run_ends_and_says_so(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1, num_gpus=0)
    only = cluster.add_node(num_cpus=0, num_gpus=1)
    images, output = pictures(*(f"{number:03}.png" for number in range(60))), tmp_path / "out"
    process = start(images, output, *SLOW, "--steps", "20", "--startup-timeout", "20")
    said = last_words_without(only, cluster, process, output)
    assert said.startswith("no worker ran for 20 s: each needs 1 GPU, and 0 of the cluster's 0 are free; what was ")


def test_without_a_node_that_could_decode_a_run_ends_and_says_so(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    only = cluster.add_node(num_cpus=1, num_gpus=0)
    cluster.add_node(num_cpus=0, num_gpus=1)
    images, output = pictures("a.png"), tmp_path / "out"
    manifest = images / "many.csv"  # more than are decoded until the first is explained
    manifest.write_text("uri,image_id\n" + "".join(f"a.png,{number}\n" for number in range(5000)))
    quick = ("--model", "factories:small_cnn", "--steps", "1", "--shard-size", "1", "--gpus-per-worker", "1")
    process = start(manifest, output, *quick, "--startup-timeout", "20")
    said = last_words_without(only, cluster, process, output)
    wanted = "no image was decoded for 20 s: decoding needs 1 CPU, and 0 of the cluster's 0 are free; what was "
    assert said.startswith(wanted), said


HOLDS_THE_CPU = """
import sys
import ray
from ray.util import placement_group
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
assert placement_group([{"CPU": 1}]).wait(60)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stop_waits_for_no_cpu_that_others_keep(
    cluster: Cluster, start: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """Without one nothing is decoded, and so nothing is in hand."""
    cluster.add_node(num_cpus=1, num_gpus=1)
    command, pipe = [sys.executable, "-c", HOLDS_THE_CPU, cluster.address], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        process = start(pictures("a.png"), tmp_path / "out", *SLOW, "--deadline", "12s")
        _, err = process.communicate(timeout=200)
        assert other.poll() is None
        other.kill()
    assert err.splitlines()[-1].startswith("igcam-batch: the --deadline has come: 1 of 1 images remain; ")
    assert process.returncode == EXIT_STOPPED
