"""What every test may use: photographs of its own, a small network, and one Ray cluster and one
S3 server for those that need them.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawings import picture
from s3_server import S3Server, serve_s3

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several processes of tests share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # those of workers, which have more, are not to spin
os.environ.setdefault("RAY_ADDRESS", "local")  # or an audit joins the cluster that another test has begun
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # an actor less in every audit, and nobody is told
os.environ.setdefault("RAY_num_workers_soft_limit", "8")  # processes that decode wait for the next audit
TESTS = Path(__file__).parent


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Make a directory of PNG pictures: `pictures("a.png", "b/c.png")`."""

    def make(*names: str, under: str = "images") -> Path:
        root = tmp_path / under
        for seed, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed).save(path)
        return root

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray on this machine for all tests of a process, with the tests' own networks importable in its workers."""
    import ray

    from igcam_batch.audit.cluster import connect

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), path] if path else [str(TESTS)])
    sys.path.insert(0, str(TESTS))
    connect()
    yield
    ray.shutdown()
    sys.path.remove(str(TESTS))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for all tests of a process; those that ask for it are of the xdist group `s3`, or share another."""
    with serve_s3() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket by name, and an environment whose AWS settings lead to it and to nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    client, name = s3_server.client(), f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield name
    client.delete_bucket(Bucket=name)  # with what it holds: this server does so
