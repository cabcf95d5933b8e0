"""Ray heads as `ray start` makes them: real processes on loopback, with ports and a session of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """A head that is up.

    Attributes:
        address: of the cluster, HOST:PORT, as RAY_ADDRESS names it to a driver.
        dashboard: http://HOST:PORT, as RAY_ADDRESS names it to `ray job submit`.
        metrics: where Prometheus finds the head's series.
        environment: for whoever talks to it, without RAY_ADDRESS.
        session: its directory.
    """

    address: str
    dashboard: str
    metrics: str
    environment: Mapping[str, str]
    session: Path


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, above those that Ray gives its workers, which no other process of the suite looks at.

    A head takes seconds from asking to listening: in that time another must not find the same ones free.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + process % 8 * 1_500 + os.getppid() % 1_400  # further than a suite's heads need
    found: list[int] = []
    with ExitStack() as held:
        for port in range(first, first + 1_500):
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                break
    return found


@contextmanager
def ray_head(session: Path, *flags: str, gcs: int | None = None, **variables: str) -> Iterator[Head]:
    """Start a head, with further flags of `ray start` and variables for it, and end it with all it began."""
    ports = free_ports(5)
    gcs = gcs or ports[0]
    _, dashboard, agent, client, metrics = ports
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= variables
    short = Path("/tmp") / f"igcam-{os.getpid()}-{gcs}"  # Ray's sockets allow no long path
    short.symlink_to(session)
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", *flags),
        *("--node-ip-address", "127.0.0.1", "--port", str(gcs), "--dashboard-host", "127.0.0.1"),
        *("--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)),
        *("--metrics-export-port", str(metrics)),
        *("--ray-client-server-port", str(client), "--temp-dir", str(short)),
    ]
    head = Head(
        f"127.0.0.1:{gcs}",
        f"http://127.0.0.1:{dashboard}",
        f"http://127.0.0.1:{metrics}/metrics",
        environment,
        session,
    )
    with (session / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_for(head, process)
        yield head
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # of SIGTERM it takes more than ten seconds to make something
        process.wait()
        short.unlink()


def _wait_for(head: Head, process: "subprocess.Popen[bytes]") -> None:
    token = head.environment.get("RAY_AUTH_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for _ in range(240):
        assert process.poll() is None, (head.session / "head.log").read_text()
        with suppress(requests.ConnectionError):
            if requests.get(f"{head.dashboard}/api/version", headers=headers, timeout=5).ok:
                return
        time.sleep(0.5)
    raise AssertionError("the head did not answer: " + (head.session / "head.log").read_text())
