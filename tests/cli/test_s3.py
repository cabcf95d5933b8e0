"""An audit from S3 to S3, as a person types it, on a Ray of its own; and what is said where S3 cannot be had."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from datasets import png
from promise import assert_same_but, explain_undisturbed
from s3_faults import Faults
from s3_proxy import Answer, Request, proxy
from s3_server import S3Server

from igcam_batch.audit.checks import existing_run
from igcam_batch.audit.gathering import Gathering
from igcam_batch.config import load_config
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


@contextmanager
def a_tenth_goes_wrong(server: S3Server) -> Iterator[Faults]:
    """A network on which one request in ten goes wrong, once the run has begun: what comes first is told at once."""
    with proxy(server.endpoint) as between, pytest.MonkeyPatch.context() as patch:
        chance, asked = Faults(share=0.1, stall=0.5, seed=3), itertools.count()

        def before(request: Request) -> Answer | None:
            request.notes["fault"] = ""
            return chance.before(request) if next(asked) > 8 else None

        between.answer, between.afterwards = before, chance.after
        patch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        yield chance


def test_an_audit_from_s3_to_s3_is_as_undisturbed_though_a_tenth_of_the_requests_goes_wrong(
    bucket: str, s3_server: S3Server, tmp_path: Path
) -> None:
    images, output = f"s3://{bucket}/images", f"s3://{bucket}/out"
    for number in range(12):
        open_store(images).write(f"{number:02d}.png", png(number))
    settings = {"input": images, "model": "factories:small_cnn", "steps": 3, "shard-size": 2}
    undisturbed = explain_undisturbed(load_config(settings | {"output": str(tmp_path / "undisturbed")}))

    with a_tenth_goes_wrong(s3_server) as faults:
        ran = typed("audit", images, output, *MODEL, "--shard-size", "2")
    assert ran.returncode == 0, ran.stderr
    assert "12 images, 12 rows, 0 failures; " in ran.stdout
    assert sum(faults.happened.values()) > 5
    assert len(faults.happened) > 2  # kinds
    assert_same_but(output, undisturbed)
    assert read_summary(output).num_rows > 0
    said = ran.stdout + ran.stderr + open_store(output).read("run.json").decode()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said
    assert os.environ["AWS_ACCESS_KEY_ID"] not in said

    record = existing_run(load_config(settings | {"output": output}), open_store(output))
    assert record is not None
    assert record.state == "finished"
    assert not Gathering(open_store(output), record).unfinished()  # by the same command


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


def test_an_output_that_may_not_be_written_to_is_told_before_anything_begins(
    bucket: str,
    s3_server: S3Server,
    run: Callable[..., Any],
    pictures: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxy(s3_server.endpoint) as between:
        denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        between.answer = lambda request: denied if request.method == "PUT" else None
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        ran = run("audit", pictures("a.png"), f"s3://{bucket}/out", *MODEL)
    assert ran.code == 2
    assert ran.err.startswith(f"igcam-batch: OUTPUT s3://{bucket}/out: cannot be written to: access denied: ")
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=bucket)
