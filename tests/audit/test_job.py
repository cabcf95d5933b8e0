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
import pyarrow as pa
import pytest
import torch
from drawings import picture
from factories import CLASSES, small_cnn
from PIL import Image

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


def keyed(table: pa.Table) -> dict[tuple[str, int, str], dict]:
    rows = {(row["image_id"], row["target"], row["method"]): row for row in table.to_pylist()}
    assert len(rows) == len(table), "an image × target × method came out twice"
    return rows


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


def test_every_kind_of_picture_is_explained_as_its_plain_twin(tmp_path: Path, audit: Callable[..., Summary]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    colour, grey = picture(3), picture(4).convert("L")
    colour.save(images / "plain.png")
    grey.convert("RGB").save(images / "grey_plain.png")
    twins = {"plain.png": ["alpha.png", "palette.png", "turned.png"], "grey_plain.png": ["grey.png", "deep.png"]}

    opaque = colour.convert("RGBA")
    opaque.save(images / "alpha.png")
    flat = colour.quantize(256)
    flat.save(images / "palette.png")
    flat.convert("RGB").save(images / "plain.png")  # so that the palette loses nothing against its twin
    flat.convert("RGBA").save(images / "alpha.png")
    turned = flat.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to display
    turned.save(images / "turned.png", exif=exif)
    grey.save(images / "grey.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(images / "deep.png")
    cmyk = colour.convert("CMYK")
    cmyk.save(images / "cmyk.tif")
    cmyk.convert("RGB").save(images / "cmyk_plain.png")
    twins["cmyk_plain.png"] = ["cmyk.tif"]

    output = audit(images, method=METHODS).output
    rows, maps = keyed(igcam_batch.read_scores(output)), keyed(igcam_batch.read_heatmaps(output))
    by_image = {key[0]: key[1] for key in rows}
    for plain, others in twins.items():
        for other in others:
            for method in METHODS:
                mine, theirs = (other, by_image[other], method), (plain, by_image[plain], method)
                assert rows[mine]["predicted"] == rows[theirs]["predicted"]
                assert rows[mine]["score"] == pytest.approx(rows[theirs]["score"], rel=1e-4)
                assert (rows[mine]["width"], rows[mine]["height"]) == (96, 80)
                np.testing.assert_allclose(maps[mine]["heatmap"], maps[theirs]["heatmap"], rtol=1e-4, atol=1e-6)


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


def test_labels_are_targets_in_an_imagefolder(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    output = audit(pictures("cat/1.png", "cat/2.png", "Bee/3.png"), target="label").output
    rows = igcam_batch.read_scores(output).to_pylist()
    assert {
        (row["image_id"], row["label"], row["target"], row["target_name"], row["target_source"]) for row in rows
    } == {
        ("cat/1.png", "cat", 2, "cat", "label"),
        ("cat/2.png", "cat", 2, "cat", "label"),
        ("Bee/3.png", "Bee", 1, "bee", "label"),
    }


def test_a_model_without_names_takes_the_sorted_directories_as_classes(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    images = pictures("v/1.png", "z/2.png", "w/3.png", "y/4.png", "x/5.png")
    output = audit(images, model="factories:unnamed_cnn", input_size=32, target="label").output
    rows = igcam_batch.read_scores(output).to_pylist()
    assert [(row["label"], row["target"], row["target_name"]) for row in rows] == [
        (name, index, name) for index, name in enumerate("vwxyz")
    ]


def test_a_class_map_names_the_model_s_class(
    pictures: Callable[..., Path], audit: Callable[..., Summary], tmp_path: Path
) -> None:
    mapping = tmp_path / "map.json"
    mapping.write_text('{"kitten": "cat", "wasp": 1}')
    output = audit(pictures("kitten/1.png", "wasp/2.png"), target="label", class_map=str(mapping)).output
    assert igcam_batch.read_scores(output)["target"].to_pylist() == [2, 1]


def test_class_ids_are_explained_in_every_image(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    rows = igcam_batch.read_scores(audit(pictures("a.png", "b.png"), target="class:4,1").output).to_pylist()
    assert [(row["image_id"], row["target"]) for row in rows] == [
        ("a.png", 4),
        ("a.png", 1),
        ("b.png", 4),
        ("b.png", 1),
    ]


def test_boxes_of_the_target_s_class_are_scored_and_others_are_not(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    root = pictures("JPEGImages/1.png", "JPEGImages/2.png").parent / "images"
    (root / "Annotations").mkdir()
    box = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>80</ymax></bndbox></object>"
    boxes = box.format("cat", 48) + box.format("dog", 96)
    (root / "Annotations" / "1.xml").write_text(f"<annotation>{boxes}</annotation>")
    (root / "Annotations" / "2.xml").write_text(f"<annotation>{box.format('eel', 96)}</annotation>")
    output = audit(root, target="labels").output
    rows = keyed(igcam_batch.read_scores(output))
    maps = keyed(igcam_batch.read_heatmaps(output, size=32))
    method = "integrated-grad-cam"
    assert {key[:2] for key in rows} == {
        ("JPEGImages/1.png", 2),
        ("JPEGImages/1.png", 3),
        ("JPEGImages/2.png", 4),
    }
    heat = np.array(maps["JPEGImages/1.png", 2, method]["heatmap"]).reshape(32, 32)
    assert rows["JPEGImages/1.png", 2, method]["ebpg"] == pytest.approx(heat[:, :16].sum() / heat.sum(), rel=1e-4)
    assert rows["JPEGImages/1.png", 3, method]["ebpg"] == pytest.approx(1)
    assert rows["JPEGImages/1.png", 3, method]["label"] == "cat, dog"


def test_scores_that_are_not_finite_cost_one_image(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "b.png", "c.png")
    Image.new("RGB", (64, 64), "white").save(images / "b.png")
    summary = audit(images, model="factories:not_finite")
    (failure,) = igcam_batch.read_failures(summary.output).to_pylist()
    assert (failure["image_id"], failure["stage"]) == ("b.png", "explain")
    assert "NaN" in failure["error"]
    assert igcam_batch.read_scores(summary.output)["image_id"].to_pylist() == ["a.png", "c.png"]


def test_more_workers_than_cpus_share_them(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    import ray

    cpus = int(ray.cluster_resources()["CPU"])
    images = pictures(*(f"{index}.png" for index in range(8)))
    assert audit(images, workers=str(cpus), shard_size=1).status.scored == 8
    with pytest.raises(InputError, match=r"--workers 1000: the cluster has \d+ CPUs?; \d+ at most"):
        audit(images, images.parent / "many", workers="1000")


def test_input_may_lie_inside_output(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    images = pictures("a.png", under="out/photos")
    assert audit(images, images.parent).status.scored == 1


def test_chosen_metrics_alone_are_computed(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    (row,) = igcam_batch.read_scores(audit(pictures("a.png"), metric=["ebpg"]).output).to_pylist()
    assert row["masked_confidence"] is row["drop"] is row["increase"] is None
    assert row["confidence"] is not None


def test_what_an_audit_wrote_into_input_is_not_explained_by_the_next(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "out/sheet.png")
    assert igcam_batch.read_scores(audit(images, images / "out").output)["image_id"].to_pylist() == ["a.png"]


def test_half_precision_maps_are_stored_and_read_back(
    pictures: Callable[..., Path], audit: Callable[..., Summary]
) -> None:
    images = pictures("a.png", "b.png")
    full = igcam_batch.read_heatmaps(audit(images).output, size=16)["heatmap"].combine_chunks().to_numpy_ndarray()
    half = audit(images, images.parent / "half", heatmap_dtype="float16").output
    stored = igcam_batch.read_heatmaps(half)
    assert stored.schema.field("heatmap").type.value_type == pa.float16()
    again = igcam_batch.read_heatmaps(half, size=16)["heatmap"].combine_chunks().to_numpy_ndarray()
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, full, rtol=2e-3, atol=1e-6)


def test_bfloat16_stays_near_float32(pictures: Callable[..., Path], audit: Callable[..., Summary]) -> None:
    images = pictures("a.png", "b.png", "c.png")
    exact = igcam_batch.read_heatmaps(audit(images).output)["heatmap"].combine_chunks().to_numpy_ndarray()
    output = audit(images, images.parent / "bf16", precision="bf16").output
    near = igcam_batch.read_heatmaps(output)["heatmap"].combine_chunks().to_numpy_ndarray()
    assert np.linalg.norm(near - exact) < 0.03 * np.linalg.norm(exact)
    assert not np.array_equal(near, exact)
