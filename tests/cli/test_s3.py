"""An audit from S3 to S3, as a person types it, on a Ray of its own; and what is said where S3 cannot be had."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import as_webdataset
from s3_faults import Faults
from s3_proxy import Answer, Request, proxy
from s3_server import S3Server

import igcam_batch
from igcam_batch.report.summary import read_summary
from igcam_batch.storage import open_store

pytestmark = pytest.mark.xdist_group("s3")
TESTS = Path(__file__).parents[1]
MODEL = ("--model", "factories:small_cnn", "--steps", "3")


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "igcam_batch", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        check=False,
    )


@pytest.fixture
def faults(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A network on which one request in ten goes wrong, once the run has begun: what comes first is told at once."""
    with proxy(s3_server.endpoint) as between:
        chance, asked = Faults(share=0.1, stall=0.5, seed=3), itertools.count()

        def before(request: Request) -> Answer | None:
            request.notes["fault"] = ""
            return chance.before(request) if next(asked) > 8 else None

        between.answer, between.afterwards = before, chance.after
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield chance


def test_an_audit_reads_from_s3_and_writes_to_it_and_goes_on_though_a_tenth_of_the_requests_goes_wrong(
    bucket: str, faults: Faults, tmp_path: Path
) -> None:
    data = as_webdataset(tmp_path / "data")
    store = open_store(f"s3://{bucket}/data")
    for path in data.iterdir():
        store.write(path.name, path.read_bytes())
    audit = ("audit", f"s3://{bucket}/data", f"s3://{bucket}/out", *MODEL, "--target", "labels")
    ran = typed(*audit)
    assert ran.returncode == 0, ran.stderr
    assert "3 images, 4 rows, 0 failures; " in ran.stdout
    assert faults.happened
    assert igcam_batch.read_scores(f"s3://{bucket}/out").num_rows == 4
    assert read_summary(f"s3://{bucket}/out").num_rows > 0
    said = ran.stdout + ran.stderr + open_store(f"s3://{bucket}/out").read("run.json").decode()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said
    assert os.environ["AWS_ACCESS_KEY_ID"] not in said
    again = typed(*audit)
    assert "nothing was left to do" in again.stdout


def test_a_bucket_that_is_not_there_is_told_within_seconds(
    bucket: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    began = time.monotonic()
    ran = run("audit", "s3://there-is-no-such-bucket/data", tmp_path / "out", *MODEL)
    assert ran.code == 2
    assert ran.err.startswith("igcam-batch: s3://there-is-no-such-bucket/data: no such bucket")
    assert len(ran.err.splitlines()) == 1
    assert time.monotonic() - began < 60  # seconds; the rest is for a busy machine
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("status", "{}"),
        ("report", "{}"),
        ("compact", "{}"),
        ("export", "{}", "there", "--format", "numpy"),
        ("export", "here", "{}", "--format", "numpy"),
        ("compare", "here", "{}"),
        ("compare", "here", "there", "--output", "{}"),
    ],
    ids=" ".join,
)
def test_every_command_tells_at_once_that_a_bucket_is_not_there(
    bucket: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*(word.format("s3://there-is-no-such-bucket/out") for word in command))
    assert ran.code == 2
    assert ran.err.startswith("igcam-batch: s3://there-is-no-such-bucket/out: no such bucket")
    assert len(ran.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
