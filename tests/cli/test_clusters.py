"""Clusters that an audit cannot work on are told in one line."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray_heads import Head, ray_head

pytestmark = pytest.mark.xdist_group("autoscaling")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head on which nothing can run."""
    with ray_head(tmp_path_factory.mktemp("ray"), "--num-cpus", "0", RAY_AUTH_MODE="disabled") as head:
        yield head


def run(head: Head, name: str, images: Path, output: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "igcam_batch", name, str(images), str(output), "--model", "factories:small_cnn"]
    environment = os.environ | head.environment | {"RAY_ADDRESS": head.address, "PYTHONPATH": str(TESTS)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def test_nodes_without_a_cpu_or_a_gpu_are_told_with_the_flag_that_waits(
    head: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    done = run(head, "audit", pictures("a.png"), tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr == (
        "igcam-batch: the cluster has no CPU and no GPU to work on; of one that grows, --gpus-per-worker 1 waits for "
        "the GPUs, and 0 for the CPUs\n"
    )


def test_another_version_of_ray_is_told(head: Head, pictures: Callable[..., Path], tmp_path: Path) -> None:
    written = ["-c", _AS_IF, head.address]
    subprocess.run([sys.executable, *written], env=os.environ | head.environment, check=True, timeout=60)
    done = run(head, "audit", pictures("a.png"), tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("igcam-batch: the cluster runs other versions of Ray or Python than this process (Version")
    assert "Ray: 2.49.0" in line
    assert line.endswith("; install the same on both")
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Head, Path]]:
    """A head whose processes lack the package, and a file: where it exists, only those that are no actor."""
    session, without = tmp_path_factory.mktemp("ray"), tmp_path_factory.mktemp("without")
    has = without / "actors-have-it"
    (without / "sitecustomize.py").write_text(_HIDES_THE_PACKAGE.format(has=str(has)))
    with ray_head(session, "--num-cpus", "2", RAY_AUTH_MODE="disabled", PYTHONPATH=str(without)) as head:
        yield head, has


@pytest.mark.parametrize(
    ("command", "actors_have_it"), [("audit", False), ("audit", True), ("plan", False)], ids=["all", "some", "plan"]
)
def test_nodes_without_the_package_are_told_with_the_ways_to_have_it(
    bare: tuple[Head, Path], pictures: Callable[..., Path], tmp_path: Path, command: str, actors_have_it: bool
) -> None:
    head, has = bare
    has.touch() if actors_have_it else has.unlink(missing_ok=True)
    done = run(head, command, pictures("a.png"), tmp_path / "out")
    assert done.returncode == 1
    *before, last = done.stderr.splitlines()
    line, _, way_on = last.partition("; ")
    assert line == (
        "igcam-batch: a node has no igcam_batch: install the package on every node, or submit a clone of it by `ray "
        "job submit --working-dir`"
    )
    kept = "what was committed is kept: that mended, the same command goes on from there"
    assert way_on == (kept if command == "audit" else "")
    assert all(other.startswith("igcam-batch: ") for other in before if other), done.stderr


_HIDES_THE_PACKAGE = """
import os, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "igcam_batch" and not (os.path.exists({has!r}) and self.is_for_an_actor()):
            raise ModuleNotFoundError("No module named 'igcam_batch'", name="igcam_batch")

    def is_for_an_actor(self):
        import ray
        return ray.get_runtime_context().get_actor_id() is not None

sys.meta_path.insert(0, Hidden())
"""

_AS_IF = f"""
import json, sys
from ray._raylet import GcsClient
client = GcsClient(sys.argv[1])
metadata = json.loads(client.internal_kv_get({CLUSTER_METADATA_KEY!r}, {KV_NAMESPACE_CLUSTER!r}))
changed = json.dumps(metadata | {{"ray_version": "2.49.0"}}).encode()
client.internal_kv_put({CLUSTER_METADATA_KEY!r}, changed, True, {KV_NAMESPACE_CLUSTER!r})
"""
