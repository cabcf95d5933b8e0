"""`ray job submit` against a real head with the job server, token authentication, and two logical GPUs."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

import igcam_batch

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, above those that Ray gives its workers."""
    found: list[int] = []
    with ExitStack() as held:
        for port in range(20_000 + os.getpid() % 8_000, 32_000):
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                break
    return found


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray head of its own on loopback; gives the environment that `ray job submit` needs."""
    gcs, dashboard, agent, client = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    session = tmp_path_factory.mktemp("ray")
    short = Path("/tmp") / f"igcam-{os.getpid()}"  # Ray's sockets allow no long path
    short.symlink_to(session)
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "4", "--num-gpus", "2"),
        *("--node-ip-address", "127.0.0.1", "--port", str(gcs), "--dashboard-host", "127.0.0.1"),
        *("--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)),
        *("--ray-client-server-port", str(client), "--temp-dir", str(short)),
    ]
    address = f"http://127.0.0.1:{dashboard}"
    with (session / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        bearer = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
        for _ in range(240):
            assert process.poll() is None, (session / "head.log").read_text()
            try:
                if requests.get(f"{address}/api/version", headers=bearer, timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.5)
        else:
            pytest.fail("the head did not answer: " + (session / "head.log").read_text())
        yield environment | {"RAY_ADDRESS": address}
    finally:
        children = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for pid in map(int, children.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        short.unlink()


def submit(head: dict[str, str], *arguments: object) -> str:
    command = [str(BIN / "ray"), "job", "submit", "--working-dir", str(ROOT), "--", "python", "jobs/audit.py"]
    done = subprocess.run(
        [*command, *map(str, arguments)], env=head, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert "succeeded" in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


def test_a_submitted_audit_pins_each_actor_to_its_own_gpu_and_explains_every_image_once(
    head: dict[str, str], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    images = pictures(*(f"{index:02}.png" for index in range(32)))
    output = tmp_path / "out"
    model = ("--model", "torchvision:resnet18", "--weights", "none", "--input-size", 64)
    log = submit(head, images, output, *model, "--steps", 30, "--shard-size", 2)

    record = json.loads((output / "run.json").read_text())
    assert len(record["workers"]) == 2
    assert {worker["gpu"] for worker in record["workers"]} == {"0", "1"}
    assert len({worker["pid"] for worker in record["workers"]}) == 2
    names = igcam_batch.read_scores(str(output))["image_id"].to_pylist()
    assert sorted(names) == sorted(path.name for path in images.iterdir())
    assert len(igcam_batch.read_failures(str(output))) == 0

    (closing,) = [line for line in log.splitlines() if "tables in" in line]
    assert closing.startswith("32 images, 32 rows, 0 failures; ")
    ours = [line for line in log.splitlines() if line.startswith("igcam-batch: ")]
    assert "igcam-batch: explaining on 2 workers, 1 GPU each" in ours
    assert not any("\x1b" in line for line in ours)

    again = submit(head, images, output, *model, "--steps", 30, "--shard-size", 2)
    assert "nothing was left to do" in again
