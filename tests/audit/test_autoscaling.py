"""A cluster that has no worker at first: Ray's autoscaler starts real raylets when GPUs are asked for."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray_heads import Head, free_ports, ray_head

import igcam_batch
from igcam_batch.cli.endings import EXIT_STOPPED

pytestmark = pytest.mark.xdist_group("autoscaling")
TESTS = Path(__file__).parents[1]
MOST_NODES = 3


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head without CPUs, and an autoscaler that may add three nodes of a CPU and a logical GPU."""
    session = tmp_path_factory.mktemp("ray")
    [gcs] = free_ports(1)
    worker = {"resources": {"CPU": 1, "GPU": 1, "object_store_memory": 200 << 20}, "node_config": {}}
    empty_lists = (
        "setup_commands head_setup_commands worker_setup_commands initialization_commands head_start_ray_commands "
        "worker_start_ray_commands cluster_synced_files rsync_exclude rsync_filter"
    )
    config = {
        "cluster_name": "growing",
        "max_workers": MOST_NODES,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 10,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu": worker | {"min_workers": 0, "max_workers": MOST_NODES},
        },
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    } | {name: [] for name in empty_lists.split()}
    file = session / "autoscaler.json"
    file.write_text(json.dumps(config))
    variables = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "PYTHONPATH": str(TESTS),
    }
    with ray_head(session, "--num-cpus", "0", "--autoscaling-config", str(file), gcs=gcs, **variables) as head:
        yield head


def nodes_with_gpus(head: Head) -> int:
    """How many there are now."""
    nodes = GcsClient(head.address).get_all_node_info().values()
    return sum(node.state == GcsNodeInfo.ALIVE and node.resources_total.get("GPU", 0) > 0 for node in nodes)


def begun(head: Head, images: Path, output: Path, *flags: str) -> "subprocess.Popen[str]":
    settings = ("--model", "factories:slow", "--steps", "20", "--shard-size", "2", "--batch-size", "1", *flags)
    command = [sys.executable, "-m", "igcam_batch", "audit", str(images), str(output), *settings]
    often = {"RAY_DATA_MIN_GAP_BETWEEN_AUTOSCALING_REQUESTS": "1"}  # seconds
    environment = os.environ | head.environment | often | {"RAY_ADDRESS": head.address}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def audit(head: Head, images: Path, output: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    with begun(head, images, output, *flags) as process:
        out, err = process.communicate(timeout=400)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_a_worker_has_one_node_started_and_no_more_while_it_runs(
    growing: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """Though it is busy all the time, and decoding, which has been quick until it first waits, could do more."""
    images, most = pictures(*(f"{number:02}.png" for number in range(16))), 0
    assert nodes_with_gpus(growing) == 0
    with begun(growing, images, tmp_path / "out", "--workers", "1", "--gpus-per-worker", "1") as process:
        while process.poll() is None:
            most = max(most, nodes_with_gpus(growing))
            time.sleep(0.5)
    assert process.returncode == 0
    assert most == 1


def test_more_gpus_than_it_can_ever_have_are_refused_after_a_bounded_wait(
    growing: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    flags = ("--workers", "64", "--gpus-per-worker", "1", "--startup-timeout", "3")
    done = audit(growing, pictures("a.png"), tmp_path / "out", *flags)
    assert done.returncode == 2
    waiting, refusal = done.stderr.splitlines()
    assert waiting.startswith("igcam-batch: warning: waiting up to 3 s for GPUs: 64 needed, ")
    assert refusal.startswith("igcam-batch: --gpus-per-worker 1 --workers 64: needs 64 GPUs; the cluster has ")
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_deadline_holds_while_it_waits_for_gpus(growing: Head, pictures: Callable[..., Path], tmp_path: Path) -> None:
    images, output = pictures("a.png"), tmp_path / "out"
    done = audit(growing, images, output, "--workers", "64", "--gpus-per-worker", "1", "--deadline", "1s")
    assert done.returncode == EXIT_STOPPED
    said = "igcam-batch: the --deadline has come while GPUs were waited for (64 needed, "
    assert done.stderr.splitlines()[-1].startswith(said)
    assert not [path for path in output.rglob("*") if path.is_file() and path.name != ".claim"]


def test_it_grows_when_an_audit_needs_gpus_and_each_actor_has_its_own_node(
    growing: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    images = pictures(*(f"{number:02}.png" for number in range(30)))
    done = audit(growing, images, tmp_path / "out", "--workers", "1:2", "--gpus-per-worker", "1")
    assert done.returncode == 0, done.stderr
    assert sorted(igcam_batch.read_scores(str(tmp_path / "out"))["image_id"].to_pylist()) == sorted(
        path.name for path in images.iterdir()
    )
    workers = json.loads((tmp_path / "out" / "run.json").read_text())["workers"]
    assert len({worker["pid"] for worker in workers}) == 2
    assert [worker["gpu"] for worker in workers] == ["0", "0"]  # the only one of its node


def test_a_stop_while_it_waits_for_gpus_says_that_nothing_began(
    growing: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    images, output = pictures("a.png"), tmp_path / "out"
    with begun(growing, images, output, "--workers", "50", "--gpus-per-worker", "1") as process:
        assert process.stderr is not None
        assert "waiting up to 600 s for GPUs: 50 needed" in process.stderr.readline()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    assert "igcam-batch: stopped before any image was explained; the same command begins anew" in err
    assert not [path for path in output.rglob("*") if path.is_file() and path.name != ".claim"]
