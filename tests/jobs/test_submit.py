"""`ray job submit` against a real head with the job server, token authentication, and two logical GPUs."""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from ray_heads import BIN, Head, ray_head

import igcam_batch
from igcam_batch.audit.metrics import SERIES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray head that wants a token, with two logical GPUs."""
    secret = secrets.token_hex(32)
    flags = ("--num-cpus", "4", "--num-gpus", "2")
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secret, "RAY_metrics_report_interval_ms": "1000"}
    with ray_head(tmp_path_factory.mktemp("ray"), *flags, **variables) as head:
        yield head


def submit(head: Head, *arguments: object) -> str:
    """What a job prints that has succeeded."""
    command = [str(BIN / "ray"), "job", "submit", "--working-dir", str(ROOT), "--", "python", "jobs/audit.py"]
    environment = {**head.environment, "RAY_ADDRESS": head.dashboard}
    done = subprocess.run(
        [*command, *map(str, arguments)], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert "succeeded" in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


def scraped(head: Head) -> str:
    """What Prometheus would be told now."""
    return requests.get(head.metrics, timeout=5).text


def series_of(head: Head, work: "Future[Any]") -> set[str]:
    """The names of our series that the head has told Prometheus of while some work was going on."""
    seen: set[str] = set()
    while not work.done():
        with suppress(requests.RequestException):
            seen |= set(re.findall(r"^(ray_igcam_\w+)\{", scraped(head), re.MULTILINE))
        time.sleep(0.5)
    return seen


def test_a_submitted_audit_pins_each_actor_to_its_own_gpu_and_explains_every_image_once(
    head: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    images = pictures(*(f"{index:02}.png" for index in range(32)))
    output = tmp_path / "out"
    arguments = (images, output, "--model", "torchvision:resnet18", "--weights", "none", "--input-size", 64)
    arguments += ("--steps", 30, "--shard-size", 2)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(submit, head, *arguments)
        assert series_of(head, job) >= set(SERIES) - {"ray_igcam_retries_total"}  # nothing went wrong
        log = job.result()

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
    assert not any("\x1b" in line or "\r" in line for line in ours)

    again = submit(head, *arguments)
    assert "nothing was left to do" in again
