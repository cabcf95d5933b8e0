"""`plan`: what an audit would do, without doing it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from PIL import Image
from ray.util import placement_group, remove_placement_group
from slow_jpeg import slow_jpeg

from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.estimate import Estimate, Sample, _measure
from igcam_batch.audit.work import Work
from igcam_batch.cli.estimate import lines_of
from igcam_batch.config import load_config
from igcam_batch.models import load_model
from igcam_batch.sources import manifest_table
from igcam_batch.sources.folder import folder_rows
from igcam_batch.storage import open_store
from igcam_batch.tables import to_ipc

MODEL = ("--model", "factories:small_cnn", "--steps", "3", "--shard-size", "4")


@pytest.mark.xdist_group("ray")
def test_it_measures_some_images_says_how_long_all_would_take_and_writes_nothing(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    images = pictures(*(f"{number:02}.png" for number in range(22)))
    (images / "22.png").write_bytes(b"broken")
    ran = run("plan", images, tmp_path / "out", *MODEL, "--sample", 21, "--price", 100)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "23 images in 6 shards of 4, --layout folder"
    assert lines[1].startswith(
        "factories:small_cnn, layer features: integrated-grad-cam, --rule riemann --steps 3, fp32"
    )
    assert re.match(r"measured on 21 images, 1 of which failed \(.+\): \d+\.\d images/s on a worker, \d", lines[2])
    assert re.match(r"\d worker.*: about \d+ s; [\d.e-]+ worker-hours$", lines[3])
    assert re.match(r"at 100 for a worker-hour: about (\d+\.\d\d|0\.0*[1-9]\d?)$", lines[4])
    assert re.match(r"tables: about \d+\.\d KiB$", lines[5])
    assert not (tmp_path / "out").exists()


@pytest.mark.xdist_group("ray")
def test_it_refuses_what_the_audit_would_and_knows_a_run_that_is_there(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    images = pictures("cats/a.png", "horses/b.png")
    refused = run("plan", images, tmp_path / "out", *MODEL, "--target", "label")
    assert refused.code == 2
    assert "are no class of factories:small_cnn" in refused.err
    assert run("audit", images, tmp_path / "out", *MODEL).code == 0
    there = run("plan", images, tmp_path / "out", *MODEL)
    assert f"{tmp_path}/out holds this run; 0 of the images remain" in there.out
    assert "nothing was explained" in there.out
    another = run("plan", images, tmp_path / "out", *MODEL[:2], "--steps", 9)
    assert another.code == 2
    assert "--steps: 3 there, 9 here" in another.err


@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("images", [1, 5, 9])
def test_no_image_is_lost_to_the_warm_up_where_there_are_few(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None, images: int
) -> None:
    ran = run("plan", pictures(*(f"{number}.png" for number in range(images))), tmp_path / "out", *MODEL)
    assert ran.code == 0, ran.err
    assert f"measured on {min(images, 8)} image" in ran.out


@pytest.mark.xdist_group("ray")
def test_it_does_not_wait_for_an_image_whose_decoding_does_not_end(
    run: Callable[..., Any], tmp_path: Path, ray_cluster: None
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "slow.jpg").write_bytes(slow_jpeg(60_000))
    ran = run("plan", tmp_path / "images", tmp_path / "out", *MODEL, "--decode-timeout", 2)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        "igcam-batch: decoding 1 image took longer than --decode-timeout 2 s for each; --sample 0 plans without them"
    )


@pytest.mark.xdist_group("ray")
def test_it_speaks_of_no_tables_where_the_model_dies_as_it_writes_none(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    images = pictures("a.png")
    Image.new("RGB", (64, 64), "white").save(images / "a.png")
    ran = run("plan", images, tmp_path / "out", "--model", "factories_broken:deadly", "--steps", "3")
    assert ran.code == 1
    assert "the process that explained some images died" in ran.err
    assert ran.err.splitlines()[-1].endswith("; --sample 0 plans without them")


@pytest.mark.xdist_group("ray")
def test_it_waits_no_longer_than_it_is_told_for_what_others_have(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    all_of_them = placement_group([{"CPU": ray.cluster_resources()["CPU"]}])
    assert all_of_them.wait(60)
    ran = run("plan", pictures("a.png"), tmp_path / "out", *MODEL, "--startup-timeout", 1)
    remove_placement_group(all_of_them)
    assert ran.code == 1
    assert re.search(r"no worker ran for 1 s: each needs [\d.]+ CPU, and 0 of the cluster's \d+ are free$", ran.err)


def test_a_process_of_it_is_set_up_as_a_replica_is(
    monkeypatch: pytest.MonkeyPatch, pictures: Callable[..., Path]
) -> None:
    """Or it measures another allocator, or other threads, than an audit has."""
    kept: list[str] = []
    monkeypatch.setattr("igcam_batch.audit.replica.keep_freed_memory", lambda: kept.append("kept"))
    config = load_config({"input": "in", "output": "out", "model": "factories:small_cnn"})
    model = load_model(config)
    work = Work(config.model_dump_json(by_alias=True), model.recipe, "plan", model.sha256, "life", ())
    rows = manifest_table(folder_rows(open_store(str(pictures("a.png", "b.png", "c.png")))))
    found = _measure(work, 0, None, to_ipc(rows), 1)
    assert kept == ["kept"]
    assert (found["images"], found["failed"]) == (1, 0)


def test_time_cost_and_size_follow_from_what_was_measured() -> None:
    config = load_config({"input": "in", "output": "out", "model": "torchvision:resnet50"})
    replicas = Replicas(2, 8, gpus=1, cpus=0, threads=None, decode_cpus=1, decoders=2)
    sample = Sample(8, 0, "", 8, explaining=0.05, decoding=0.02, loading=10, bytes=500)
    found = Estimate(1_281_167, "imagefolder", 1_281_167, 1024, "layer4", replicas, cpus=2, sample=sample)
    assert list(lines_of(config, found, price=2.0)) == [
        "1,281,167 images in 1,252 shards of 1,024, --layout imagefolder",
        "torchvision:resnet50, layer layer4: integrated-grad-cam, --rule riemann --steps 50, tf32",
        "measured on 8 images: 20.0 images/s on a worker, 50.0 images/s decoded on a CPU",
        "2 to 8 workers, 1 GPU each: about 2 h 13 min to 8 h 53 min; 17.8 worker-hours",  # 1281167 x 0.05 s
        "at 2 for a worker-hour: about 35.59",
        "tables: about 630.0 MiB",  # 1281167 x 500 bytes and 2 x 1252 files x 8000
        "decoding would need 4 CPUs to keep up with them, and has 2; of a cluster that grows, --decode-cpus 4 asks for "
        "them",
    ]


def test_cpus_that_are_asked_for_to_decode_with_are_not_taken_for_there() -> None:
    settings = {"input": "in", "output": "out", "model": "torchvision:resnet50", "decode-cpus": 40}
    replicas = Replicas(8, 8, gpus=1, cpus=0, threads=None, decode_cpus=1, decoders=40)
    sample = Sample(8, 0, "", 8, explaining=0.01, decoding=0.02, loading=10, bytes=500)
    there, few = (Estimate(100, "folder", 100, 10, "layer4", replicas, cpus, sample) for cpus in (40, 8))
    *lines, last = lines_of(load_config(settings), few, price=None)
    assert lines == list(lines_of(load_config(settings), there, price=None))
    assert last == "--decode-cpus 40: the cluster has 8 CPUs now, and uses no more unless nodes join"


def test_where_no_image_could_be_explained_nothing_is_estimated() -> None:
    config = load_config({"input": "in", "output": "out", "model": "torchvision:resnet50"})
    replicas = Replicas(1, 1, gpus=1, cpus=0, threads=None, decode_cpus=1, decoders=2)
    sample = Sample(8, 8, "truncated", 0, explaining=0, decoding=0.02, loading=10, bytes=0)
    found = Estimate(100, "folder", 100, 10, "layer4", replicas, cpus=2, sample=sample)
    assert list(lines_of(config, found, price=2.0))[2:] == ["none of the 8 images tried could be explained: truncated"]
