"""What goes wrong around an image: it costs that image, and every other is explained as if nothing had happened."""

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawings import picture
from PIL import Image
from promise import assert_same_but
from ray.actor import ActorHandle

import igcam_batch
from igcam_batch.audit import job
from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.audit.execute import execute
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Silent
from igcam_batch.audit.replica import Report
from igcam_batch.config import load_config
from igcam_batch.tables.status import read_status

pytestmark = pytest.mark.xdist_group("faults")
NAMES = tuple(f"{index:02d}.png" for index in range(12))


@pytest.fixture
def images(pictures: Callable[..., Path]) -> Path:
    return pictures(*NAMES)


@pytest.fixture
def never_collecting() -> Iterator[None]:
    """Python's garbage collector runs when it is called, and never by itself."""
    gc.disable()
    yield
    gc.enable()


class Told(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, message: str) -> None:
        self.warnings.append(message)


def whiten(images: Path, *names: str) -> None:
    """Make some pictures of the kind that the models of these tests cannot bear."""
    for name in names:
        Image.new("RGB", (64, 64), "white").save(images / name)


def test_an_exception_costs_the_image_that_raises_it(
    images: Path, audit: Callable[..., Summary], audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    undisturbed = audit_here(images, tmp_path / "a", model="factories_broken:fickle")
    whiten(images, "04.png")
    summary = audit(images, tmp_path / "b", model="factories_broken:fickle")
    assert summary.status.failed == 1
    assert_same_but(summary.output, undisturbed.output, "04.png")
    [failure] = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["stage"], failure["error"]) == ("explain", "ArithmeticError: too bright for me")


def test_an_image_that_kills_its_process_is_found_and_is_all_that_is_lost(
    pictures: Callable[..., Path],
    audit: Callable[..., Summary],
    audit_here: Callable[..., Summary],
    tmp_path: Path,
    never_collecting: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No handle outlives its round: Ray would start what died last again, and the next round waits for its CPUs."""
    images = pictures(*NAMES[:6])
    undisturbed = audit_here(images, tmp_path / "a", model="factories_broken:deadly")
    whiten(images, "04.png")

    def letting_go(*arguments: Any, **options: Any) -> Iterator[Report]:
        yield from execute(*arguments, **options)
        handles = [repr(each) for each in gc.get_objects() if type(each) is ActorHandle]
        assert not [handle for handle in handles if "ExplainShards" in handle]

    monkeypatch.setattr(job, "execute", letting_go)
    summary = audit(images, tmp_path / "b", model="factories_broken:deadly")
    assert (summary.explained, summary.failed) == (6, 1)
    assert_same_but(summary.output, undisturbed.output, "04.png")
    [failure] = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["stage"], failure["attempts"]) == ("crash", 4)  # twice in its shard, twice alone
    assert failure["error"].startswith("the process that explained it died, alone with it at last: it left no word")
    assert not list((tmp_path / "b").rglob("pieces/*"))
    assert audit(images, tmp_path / "b", model="factories_broken:deadly").explained == 0


def test_failures_are_taken_up_again_when_asked(
    images: Path, audit: Callable[..., Summary], audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    undisturbed = audit_here(images, tmp_path / "a")
    for name in ("01.png", "02.png", "07.png"):
        (images / name).write_bytes(b"broken")
    summary = audit(images, tmp_path / "b")
    assert_same_but(summary.output, undisturbed.output, "01.png", "02.png", "07.png")
    picture(1).save(images / "01.png")
    picture(7).save(images / "07.png")
    assert audit(images, tmp_path / "b").explained == 0
    again = audit(images, tmp_path / "b", retry_failures=True)
    assert (again.explained, again.failed) == (3, 1)
    assert_same_but(again.output, undisturbed.output, "02.png")
    assert igcam_batch.read_failures(again.output)["attempts"].to_pylist() == [2]
    picture(2).save(images / "02.png")
    audit(images, tmp_path / "b", retry_failures=True)
    assert_same_but(again.output, undisturbed.output)
    assert sorted(path.name for path in (tmp_path / "b" / "heatmaps").iterdir()) == [
        "part-000000-2.parquet",
        "part-000001.parquet",
        "part-000002-1.parquet",
        "part-000003.parquet",
    ]


def test_a_deadline_ends_a_run_at_a_shard_and_the_same_command_goes_on(
    images: Path, audit: Callable[..., Summary], audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    settings = {"batch-size": 1, "steps": 20, "shard-size": 2}
    undisturbed = audit_here(images, tmp_path / "a", **settings)
    settings["model"] = "factories:slow"  # the same, but for the time it takes
    with pytest.raises(StoppedError, match=r"^the --deadline has come: \d+ of 12 images remain; what was"):
        audit(images, tmp_path / "b", deadline=6, **settings)
    status = read_status(str(tmp_path / "b"))
    assert status.scored % 2 == 0
    assert status.remaining > 0
    assert json.loads((tmp_path / "b" / "run.json").read_text())["state"] == "stopped"
    again = audit(images, tmp_path / "b", deadline=3600, **settings)
    assert again.explained == status.remaining
    assert_same_but(again.output, undisturbed.output)
    goes_on = r"^the --deadline has come: 12 of 12 images remain; .* the same command without --overwrite goes on"
    with pytest.raises(StoppedError, match=goes_on):
        audit(images, tmp_path / "b", deadline=0.001, overwrite=True, **settings)


def test_a_stop_takes_up_nothing_of_what_is_left_however_much_that_is(
    images: Path, audit: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it takes minutes where many shards are left."""
    manifest, stopped = images / "many.csv", list[Report]()
    manifest.write_text("uri,image_id\n" + "".join(f"{NAMES[n % 12]},{n}\n" for n in range(3000)))

    def listening(*arguments: Any, **options: Any) -> Iterator[Report]:
        for number, report in enumerate(execute(*arguments, **options)):
            stopped.extend([report] if report.trouble.stopped else [])
            yield report
            if number == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job, "execute", listening)
    with pytest.raises(StoppedError, match=r"^stopped: \d+ of 3000 images remain"):
        audit(manifest, tmp_path / "out", shard_size=1, steps=1, method="grad-cam")
    assert 0 < read_status(str(tmp_path / "out")).scored < 2000
    assert len(stopped) < 50


def test_a_device_that_cannot_be_used_costs_its_worker_alone(
    images: Path, ray_cluster: None, audit_here: Callable[..., Summary], tmp_path: Path
) -> None:
    undisturbed = audit_here(images, tmp_path / "a", steps=12, batch_size=1, shard_size=1)
    told, places = Told(), {"input": str(images), "output": str(tmp_path / "b")}
    settings = {"model": "factories_broken:one_device", "steps": 12, "batch-size": 1, "shard-size": 1, "workers": 2}
    summary = run_audit(load_config(places | settings), told)
    assert_same_but(summary.output, undisturbed.output)
    [warning] = told.warnings
    assert warning.startswith("a worker could not start, and another is tried: ")
    assert warning.endswith("CUDA error: uncorrectable ECC error encountered")


def test_a_run_on_devices_none_of_which_can_be_used_ends_and_says_why(
    images: Path, audit: Callable[..., Summary]
) -> None:
    with pytest.raises(IncompleteError, match=r"^a worker failed: .*CUDA error: no kernel image is available"):
        audit(images, model="factories_broken:no_device", workers=2)
