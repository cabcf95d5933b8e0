"""`ray job submit` against a real head with the job server, token authentication, and two logical GPUs."""

import json
import re
import secrets
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from ray_heads import BIN, Head, ray_head
from ray_workers import explainers

import igcam_batch
from igcam_batch.audit.metrics import SERIES

ROOT = Path(__file__).parents[2]
PROGRESS = r"\d+ of 49 images, [01] failures?, \d+\.\d+ images/s, about .+ left"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray head that wants a token, with two logical GPUs."""
    secret = secrets.token_hex(32)
    flags = ("--num-cpus", "4", "--num-gpus", "2")
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secret, "RAY_metrics_report_interval_ms": "1000"}
    variables |= {"RAY_JOB_STOP_WAIT_TIME_S": "100"}
    with ray_head(tmp_path_factory.mktemp("ray"), *flags, **variables) as head:
        yield head


def ray_job(head: Head, *arguments: object) -> str:
    """What `ray job ...` prints; fails where it fails."""
    environment = {**head.environment, "RAY_ADDRESS": head.dashboard}
    command = [str(BIN / "ray"), "job", *map(str, arguments)]
    for _attempt in range(10):  # a head that has just begun may have nobody yet to start jobs
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if "No available agent" not in done.stderr:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(head: Head, *arguments: object, flags: Sequence[str] = ()) -> str:
    """What a job prints; with the flag --no-wait, what Ray says of it."""
    return ray_job(head, "submit", "--working-dir", ROOT, *flags, "--", "python", "jobs/audit.py", *arguments)


def committed(output: Path) -> int:
    """Shards that are."""
    return len(list(output.glob("scores/*.parquet")))


def until(true: Callable[[], bool], seconds: float = 200) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.2)


def scraped(head: Head) -> str:
    """What Prometheus would be told now."""
    return requests.get(head.metrics, timeout=5).text


def series_of(head: Head, work: "Future[Any]") -> dict[str, list[float]]:
    """Our series, and their values, as the head has told Prometheus of them while some work was going on."""
    seen: dict[str, list[float]] = defaultdict(list)
    while not work.done():
        with suppress(requests.RequestException):
            for one, value in re.findall(r"^(ray_igcam_\w+\{.*\}) (\S+)$", scraped(head), re.MULTILINE):
                seen[one].append(float(value))
        time.sleep(0.5)
    return seen


def latest(series: dict[str, list[float]], name: str, worker: str) -> float:
    """The last value of a worker's counter; 0 where there is none."""
    return max((values[-1] for one, values in series.items() if name in one and worker in one), default=0.0)


def most_of_a_worker(series: dict[str, list[float]], name: str) -> tuple[str, float]:
    """The worker whose counter is the highest, by Ray's name for it, and its value."""
    workers = {worker for one in series for worker in re.findall('WorkerId="[0-9a-f]+"', one)}
    return max(((worker, latest(series, name, worker)) for worker in workers), key=lambda found: found[1])


def test_an_audit_is_stopped_and_submitted_again_and_pins_each_actor_to_its_own_gpu(
    head: Head, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """The second time a worker is killed, and the last image is no image, so that there is something to tell of."""
    images = pictures(*(f"{index:02}.png" for index in range(48)))
    (images / "broken.png").write_bytes(b"no image")
    output = tmp_path / "out"
    arguments = (images, output, "--model", "tests.factories:slow", "--batch-size", 1, "--steps", 12, "--shard-size", 2)
    submit(head, *arguments, flags=("--no-wait", "--submission-id", "night-1"))
    until(lambda: committed(output) > 0)
    ray_job(head, "stop", "night-1")
    assert "STOPPED" in ray_job(head, "status", "night-1").upper()
    before = committed(output)
    assert 0 < before < 20
    assert json.loads((output / "run.json").read_text())["state"] == "stopped"  # it was given the time to say so

    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(submit, head, *arguments)
        told = pool.submit(series_of, head, job)
        until(lambda: committed(output) > before or job.done())
        explainers()[0].kill()
        log, series = job.result(), told.result()
    assert {one.partition("{")[0] for one in series} == set(SERIES)
    for tag in ('outcome="scored"', 'outcome="failed"', 'reason="died"'):
        assert any(tag in one for one in series), (tag, series)
    busy, longest = most_of_a_worker(series, "device_seconds_total")
    assert latest(series, "idle_seconds_total", busy) < 0.1 * longest  # the next shard was at hand
    assert any(1.0 in values for one, values in series.items() if "queue_shards" in one and busy in one)

    record = json.loads((output / "run.json").read_text())
    assert len(record["workers"]) >= 2
    assert {worker["gpu"] for worker in record["workers"]} == {"0", "1"}
    assert len({worker["pid"] for worker in record["workers"]}) == len(record["workers"])
    names = igcam_batch.read_scores(str(output))["image_id"].to_pylist()
    assert sorted(names) == sorted(path.name for path in images.iterdir() if path.name != "broken.png")
    assert igcam_batch.read_failures(str(output))["image_id"].to_pylist() == ["broken.png"]

    (closing,) = [line for line in log.splitlines() if "tables in" in line]
    assert closing.startswith("49 images, 48 rows, 1 failure; ")
    ours = [line.removeprefix("igcam-batch: ") for line in log.splitlines() if line.startswith("igcam-batch: ")]
    assert f"49 images in 25 shards, {2 * before} of them done before" in ours
    assert "explaining on 2 workers, 1 GPU each" in ours
    assert any(re.fullmatch(PROGRESS, line) for line in ours), log
    assert any(line.startswith("warning: ") and "lost with the process that had" in line for line in ours), log
    said, _, _ = log[log.index("igcam-batch: ") :].partition(closing)  # around it are lines of Ray's own, in colours
    assert not re.search(r"[\x00-\x08\x0b-\x1f]|raylet", said)
