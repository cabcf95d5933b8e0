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
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from drawings import picture
from promise import assert_same_but
from ray.cluster_utils import Cluster

from igcam_batch.cli.main import EXIT_INPUT, EXIT_STOPPED
from igcam_batch.config import load_config
from igcam_batch.models import load_model
from igcam_batch.sources import manifest_table
from igcam_batch.sources.folder import folder_rows
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import write_plan
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.read import read_shard

pytestmark = pytest.mark.xdist_group("kills")
TESTS = Path(__file__).parents[1]
KILLS = int(os.environ.get("IGCAM_KILLS", "1"))
SHARD = 3
IMAGES = SHARD * (7 + KILLS)  # so that each driver has something left to do

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
    for number in range(IMAGES):
        picture(number).save(root / f"{number:03d}.png")
    return root


def settings(images: Path, output: Path) -> dict[str, Any]:
    return {"input": str(images), "output": str(output), "model": "factories:slow"} | {
        "steps": 3,
        "shard-size": SHARD,
        "batch-size": 1,
    }


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tables, made in this process, without a cluster."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    config = load_config(settings(images, output))
    manifest = manifest_table(folder_rows(open_store(config.input)))
    write_plan(open_store(config.output), [manifest], "plan")
    explain, recipe = ShardExplainer(config, "cpu", "plan"), load_model(config).recipe
    for shard in range(IMAGES // SHARD):
        piece = Piece(shard, shard * SHARD, (shard + 1) * SHARD)
        explain(read_shard(piece, manifest.slice(piece.start, SHARD), recipe, config.max_pixels))
    return output


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


def wait_for_commits(process: Driver, output: Path, count: int) -> None:
    until = time.monotonic() + 200
    while commits(output) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(process: Driver) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=500)
    return process.returncode, out, err


def explainers() -> list[psutil.Process]:
    """The processes that hold a model, of the nodes that this test started."""

    def explains(process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # it has just ended
            return "ExplainShards" in " ".join(process.cmdline())
        return False

    return [each for each in psutil.Process().children(recursive=True) if explains(each)]


def test_a_worker_that_is_killed_costs_nothing_and_a_second_driver_is_refused(
    start: Callable[[Path], Driver], undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(output)
    while not (output / ".claim").exists():
        time.sleep(0.01)
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
    cluster: Cluster, start: Callable[[Path], Driver], undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(output)
    wait_for_commits(process, output, 2)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    code, _, err = ended(process)
    cluster.add_node(num_cpus=2)
    assert code == 0, err
    assert_same_but(output, undisturbed)


def test_a_driver_that_is_killed_at_any_moment_is_resumed(
    start: Callable[[Path], Driver], undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    chance = random.Random(0)
    for _ in range(KILLS):
        process, before = start(output), commits(output)
        if chance.random() < 0.3:  # while it begins
            time.sleep(chance.uniform(0, 8))
        else:
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
    start: Callable[[Path], Driver], tmp_path: Path
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
    assert not list((output / "plan").rglob("stop"))
