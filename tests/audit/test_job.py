"""The whole job, on a real Ray: what it writes, what it skips, and what it refuses."""

import io
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from drawings import picture
from factories import CLASSES, small_cnn
from PIL import Image
from promise import keyed

import igcam_batch
from igcam_batch import InputError
from igcam_batch.attribution.upsample import upsample
from igcam_batch.audit import job
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Silent
from igcam_batch.audit.stop import Stop
from igcam_batch.config import load_config
from igcam_batch.storage import Store
from igcam_batch.tables.record import RunRecord
from igcam_batch.tables.status import Status, read_status

pytestmark = pytest.mark.xdist_group("ray")

METHODS = ["grad-cam", "grad-cam++", "integrated-grad-cam"]


def model_input(image: Image.Image) -> torch.Tensor:
    """An image as the small network takes it, written out by hand."""
    pixels = torch.from_numpy(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).copy()).permute(2, 0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def test_the_tables_equal_calling_explain(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    images = pictures("a.png", "b/c.png", "d.png", "e.png", "f.png", "b/g.png", "h.png")
    summary = audit(images, method=METHODS, target="top-2")
    scores = keyed(igcam_batch.read_scores(summary.output))
    maps = keyed(igcam_batch.read_heatmaps(summary.output))
    assert scores.keys() == maps.keys()
    assert len(scores) == 7 * 2 * 3 == summary.status.rows

    model = small_cnn().module.eval()
    black = (-torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])).view(3, 1, 1)
    for path in images.rglob("*.png"):
        image_id = str(path.relative_to(images))
        x = model_input(Image.open(path))[None]
        with torch.no_grad():
            logits = model(x)[0]
        best = logits.topk(2).indices
        for method in METHODS:
            expected = igcam_batch.explain(
                model, x, best[None], layer="features", method=method, steps=5, baseline=black.expand(3, 32, 32)
            )[0]
            for rank, target in enumerate(best.tolist()):
                row = scores[image_id, target, method]
                heatmap = torch.tensor(maps[image_id, target, method]["heatmap"]).view(8, 8)
                torch.testing.assert_close(heatmap, expected[rank], rtol=1e-4, atol=1e-6)
                assert row["uri"] == str(path)
                assert (row["width"], row["height"]) == (96, 80)
                assert row["predicted"] == best[0]
                assert row["predicted_name"] == CLASSES[best[0]]
                assert row["target_name"] == CLASSES[target]
                assert row["target_source"] == f"top-{rank + 1}"
                assert row["score"] == pytest.approx(float(logits[target]), rel=1e-4)
                confidence = float(logits.softmax(0)[target])
                assert row["confidence"] == pytest.approx(confidence, rel=1e-4)
                large = upsample(heatmap, (32, 32)).flatten()
                kept = torch.zeros(32 * 32, dtype=torch.bool)
                kept[large.argsort(descending=True, stable=True)[: round(0.15 * 32 * 32)]] = True
                kept = (kept & (large > 0)).view(32, 32)
                with torch.no_grad():
                    masked = float(model(torch.where(kept, x, black)).softmax(1)[0, target])
                assert row["masked_confidence"] == pytest.approx(masked, rel=1e-3)
                assert row["drop"] == pytest.approx(max(0.0, confidence - masked) / confidence, abs=1e-4)
                assert row["increase"] == float(masked > confidence)
                assert row["ebpg"] is None
                assert row["bbox"] is None


def broken_files(directory: Path) -> dict[str, str]:
    """Write one file of every broken kind; name -> what its failure must say."""
    whole = io.BytesIO()
    picture(1).save(whole, "JPEG")
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
    content = {
        "bomb.png": (bomb.getvalue(), "12000 x 12000 pixels"),
        "empty.jpg": (b"", "empty"),
        "garbage.png": (b"\x89PNG\r\n\x1a\n" + bytes(200), "not an image"),
        "text.jpg": (b"this is no image", "not an image"),
        "truncated.jpg": (whole.getvalue()[: len(whole.getvalue()) // 2], "truncated"),
        "zero.ppm": (b"P6\n0 0\n255\n", ""),
    }
    for name, (data, _) in content.items():
        (directory / name).write_bytes(data)
    return {name: says for name, (_, says) in content.items()}


def test_a_broken_file_costs_itself_alone(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    images = pictures("a.png", "m.png", "z.png")
    alone = audit(images, images.parent / "alone")
    broken = broken_files(images)
    (images / "dangling.png").symlink_to(images / "nowhere.png")
    summary = audit(images)
    failures = {row["image_id"]: row for row in igcam_batch.read_failures(summary.output).to_pylist()}
    scored = igcam_batch.read_scores(summary.output)
    assert failures.keys() == broken.keys()
    for name, says in broken.items():
        assert says in failures[name]["error"]
        assert failures[name]["stage"] == "decode"
        assert failures[name]["uri"] == str(images / name)
        assert failures[name]["attempts"] == 1
    undisturbed = keyed(igcam_batch.read_scores(alone.output))
    assert keyed(scored).keys() == undisturbed.keys()
    for key, row in keyed(scored).items():
        for name, value in row.items():
            expected = undisturbed[key][name]
            assert value == (pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected)
    assert f"{3 + len(broken)} images, 3 rows, {len(broken)} failures" in summary.line()


def test_a_directory_of_broken_files_alone_ends_with_failures_and_no_scores(
    tmp_path: Path, audit: Callable[..., Summary]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    broken = broken_files(images)
    summary = audit(images)
    assert summary.status.failed == len(broken)
    assert len(igcam_batch.read_scores(summary.output)) == len(igcam_batch.read_heatmaps(summary.output, 7)) == 0


def test_a_run_in_which_no_worker_explained_anything_has_no_pace() -> None:
    summary = Summary(Status(1, 0, 1, 0), explained=1, failed=1, seconds=12.0, computing=0.0, output="out")
    assert summary.line() == "1 image, 0 rows, 1 failure; 12.0 s; tables in out"


def test_run_json_says_what_was_run(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    summary = audit(pictures("a.png", "b.png", "c.png", "d.png"))
    record = json.loads((Path(summary.output) / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["config"]["steps"] == 5
    assert record["model"]["layer"] == "features"
    assert len(record["model"]["sha256"]) == 64
    assert record["counts"] == {"planned": 4, "scored": 4, "failed": 0, "rows": 4}
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    started, finished = (datetime.fromisoformat(record[name]) for name in ("started", "finished"))
    assert (finished - started).total_seconds() == pytest.approx(record["seconds"], abs=2)  # of one clock
    assert len(record["workers"]) >= 1


def test_a_run_goes_on_where_it_stopped_and_leaves_what_is_committed_alone(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    images = pictures(*(f"{index}.png" for index in range(8)))
    output = Path(audit(images).output)
    whole = igcam_batch.read_scores(str(output))
    kept = output / "scores" / "part-000000.parquet"
    before = kept.stat().st_mtime_ns
    (output / "scores" / "part-000001.parquet").unlink()  # heatmaps written, scores not: never committed
    status = read_status(str(output))
    assert (status.planned, status.scored, status.remaining) == (8, 5, 3)
    assert len(igcam_batch.read_heatmaps(str(output))) == 5
    picture(99).save(images / "9.png")  # the plan is frozen: a later image is not part of this run

    summary = audit(images)
    assert summary.explained == 3
    assert igcam_batch.read_scores(str(output)).equals(whole)
    assert kept.stat().st_mtime_ns == before
    assert "3 of the images in this run" in summary.line()

    again = audit(images)
    assert again.explained == 0
    assert "nothing was left to do" in again.line()


@pytest.mark.parametrize("retry_failures", [False, True])
def test_where_nothing_is_left_ray_is_not_started_and_other_weights_are_still_refused(
    pictures: Callable[..., Path],
    audit_here: Callable[..., Summary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    retry_failures: bool,
) -> None:
    images = pictures("a.png", "b.png")
    output = Path(audit_here(images).output)
    finished = (output / "run.json").read_text()
    settings = {"input": str(images), "output": str(output), "model": "factories:small_cnn", "steps": 5}
    config = load_config(settings | {"shard-size": 3, "retry-failures": retry_failures})
    for name in ("connect", "plan_replicas"):
        monkeypatch.setattr(job, name, lambda *_: pytest.fail("the cluster was asked for"))
    summary = run_audit(config)
    assert (summary.explained, summary.status) == (0, Status(2, 2, 0, 2))
    assert (output / "run.json").read_text() == finished
    (output / "run.json").write_text(finished.replace(json.loads(finished)["model"]["sha256"], "0" * 64))
    with pytest.raises(InputError, match=r"holds another run \(weights: sha256 000000000000 there"):
        run_audit(config)


def test_a_run_whose_end_was_not_recorded_is_finished_by_the_same_command(
    pictures: Callable[..., Path], audit_here: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "b.png")
    record = Path(audit_here(images).output) / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"running"', 1))
    assert audit_here(images).explained == 0
    assert json.loads(record.read_text())["state"] == "finished"


def test_a_shard_is_reported_when_it_is_committed_and_not_with_the_next(
    pictures: Callable[..., Path], ray_cluster: None, tmp_path: Path
) -> None:
    """What the pace is counted by, which one report that is late makes better than it is."""
    told: list[float] = []

    class Listening(Silent):
        def advanced(self, images: int, failed: int) -> None:
            told.append(time.time())

    images = pictures("a.png", "b.png", "c.png")
    settings = {"input": str(images), "output": str(tmp_path / "out"), "model": "factories:slow", "steps": 20}
    settings |= {"batch-size": 1, "shard-size": 1, "workers": 1}  # a second for each
    summary = run_audit(load_config(settings), Listening())
    committed = sorted(path.stat().st_mtime for path in Path(summary.output).glob("scores/*.parquet"))
    assert len(told) == len(committed) == 3
    assert all(report < following for report, following in zip(told, committed[1:], strict=False))


def test_sigterms_that_come_while_the_end_is_recorded_change_nothing(
    pictures: Callable[..., Path], audit: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, forget = job.write_record, Stop.end

    def terminated(store: Store, of_run: RunRecord) -> None:
        if of_run.state == "finished":
            os.kill(os.getpid(), signal.SIGTERM)
        record(store, of_run)

    def terminated_again(stop: Stop) -> None:
        forget(stop)
        time.sleep(2.1)  # so that it is another wish, and not the same twice
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job, "write_record", terminated)
    monkeypatch.setattr(Stop, "end", terminated_again)
    summary = audit(pictures("a.png", "b.png"))
    assert summary.status == Status(2, 2, 0, 2)
    assert json.loads((Path(summary.output) / "run.json").read_text())["state"] == "finished"


def test_another_run_in_output_is_refused_with_what_differs_until_overwritten(
    pictures: Callable[..., Path], audit: Callable[..., Summary], tmp_path: Path
) -> None:
    images = pictures("a.png", "b.png")
    audit(images)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds another run \(--steps: 5 there, 6 here\).*--overwrite"):
        audit(images, steps=6)
    with pytest.raises(InputError, match=r"input: .*images there, .*other here"):
        audit(pictures("c.png", under="other"))
    with pytest.raises(InputError, match=r"--method: integrated-grad-cam there, grad-cam,grad-cam\+\+ here"):
        audit(images, method=["grad-cam", "grad-cam++"])
    before = igcam_batch.read_scores(str(tmp_path / "out"))
    with pytest.raises(InputError, match="--layer nowhere"):
        audit(images, layer="nowhere", overwrite=True)
    with pytest.raises(InputError, match="--shard-size 90000"):
        audit(images, input_size=1024, shard_size=90_000, overwrite=True)
    assert igcam_batch.read_scores(str(tmp_path / "out")).equals(before)  # what is refused replaces nothing
    summary = audit(images, method=["grad-cam", "grad-cam++"], overwrite=True)
    assert summary.status.rows == 4
    assert len(list((tmp_path / "out" / "plan").rglob("*.parquet"))) == 1
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_more_workers_than_cpus_share_them(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    import ray

    cpus = int(ray.cluster_resources()["CPU"])
    images = pictures(*(f"{index}.png" for index in range(8)))
    assert audit(images, workers=str(cpus), shard_size=1).status.scored == 8
    with pytest.raises(InputError, match=r"--workers 1000: the cluster has \d+ CPUs?; \d+ at most"):
        audit(images, images.parent / "many", workers="1000")
