"""A real S3 server for the tests: SeaweedFS, on the loopback interface of this machine."""

import ctypes
import functools
import json
import secrets
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 60
_PORTS = range(20000, 30000)  # not those that the kernel gives out, nor those that Ray's workers take


@dataclass(frozen=True)
class S3Server:
    """Where a server answers, and to whom."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @functools.cache  # noqa: B019  # there is one server, and making a client takes its time
    def client(self, max_attempts: int = 5) -> Any:
        """For what the tests prepare and look up beside the store."""
        import boto3
        from botocore.config import Config

        return boto3.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=5, retries={"total_max_attempts": max_attempts}),
        )

    def environment(self) -> dict[str, str]:
        """The settings a person would make, with no other of theirs in reach."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",  # no address off this machine is asked for credentials
        }


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Start a server with keys drawn by chance, wait until it stores objects, and kill it at the end."""
    roles = ["master", "volume", "filer", "s3"]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3-")))
        numbers = _free_ports(2 * len(roles))
        ports = dict(zip(roles, numbers, strict=False))
        grpc = dict(zip(roles, numbers[len(roles) :], strict=False))
        server = S3Server(f"http://{HOST}:{ports['s3']}", secrets.token_hex(10), secrets.token_hex(20))
        key = {"accessKey": server.access_key, "secretKey": server.secret_key}
        config = directory / "s3.json"
        config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [key], "actions": ["Admin"]}]}))
        (directory / "data").mkdir()
        command = [f"{sysconfig.get_path('scripts')}/weed", "-logtostderr", "server", "-s3"]
        options = {"ip": HOST, "ip.bind": HOST, "dir": directory / "data", "master.telemetry": "false"}
        options |= {f"{role}.port": port for role, port in ports.items()}
        options |= {f"{role}.port.grpc": port for role, port in grpc.items()}
        options |= {"s3.config": config, "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0}
        options |= {"s3.localSocket": directory / "s3.sock", "filer.localSocket": directory / "filer.sock"}
        options |= {"volume.max": 2000, "master.volumeSizeLimitMB": 64, "volume.minFreeSpace": "100MiB"}
        log = stack.enter_context((directory / "log").open("wb"))
        process = subprocess.Popen(
            command + [f"-{name}={value}" for name, value in options.items()],
            stdout=log,
            stderr=log,
            cwd=directory,
            preexec_fn=_die_with_the_tests,
        )
        for role, port in grpc.items():
            stack.callback(Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink, missing_ok=True)
        stack.callback(process.wait)
        stack.callback(process.kill)  # when asked to stop, it takes its time
        _wait(server, process, directory / "log")
        yield server


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until an object can be stored, which is some time after the port answers."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client(max_attempts=1)
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if not any(bucket["Name"] == "ready" for bucket in client.list_buckets()["Buckets"]):
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_PORTS)
        with socket.socket() as candidate:
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _die_with_the_tests() -> None:
    """Linux kills the server when the process of the tests is gone, however it went: PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
