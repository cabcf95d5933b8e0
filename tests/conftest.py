"""What every test may use: photographs of its own, a small network, and one Ray cluster for those that need it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drawings import picture

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
