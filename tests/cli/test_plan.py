"""`plan`: what an audit would do, without doing it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.estimate import Estimate, Sample
from igcam_batch.cli.estimate import lines_of
from igcam_batch.config import load_config

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
    assert re.match(r"at 100 for a worker-hour: about \d+\.\d\d$", lines[4])
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


def test_time_cost_and_size_follow_from_what_was_measured() -> None:
    config = load_config({"input": "in", "output": "out", "model": "torchvision:resnet50"})
    replicas = Replicas(2, 8, gpus=1, cpus=0, threads=None, decode_cpus=1, decoders=None)
    sample = Sample(8, 0, "", 8, explaining=0.05, decoding=0.02, loading=10, bytes=500)
    found = Estimate(1_281_167, "imagefolder", 1_281_167, 1024, "layer4", replicas, cpus=2, sample=sample)
    assert list(lines_of(config, found, price=2.0)) == [
        "1,281,167 images in 1,252 shards of 1,024, --layout imagefolder",
        "torchvision:resnet50, layer layer4: integrated-grad-cam, --rule riemann --steps 50, fp32",
        "measured on 8 images: 20.0 images/s on a worker, 50.0 images/s decoded on a CPU",
        "2 to 8 workers, 1 GPU each: about 2 h 13 min to 8 h 53 min; 17.8 worker-hours",  # 1281167 x 0.05 s
        "at 2 for a worker-hour: about 35.59",
        "tables: about 630.0 MiB",  # 1281167 x 500 bytes and 2 x 1252 files x 8000
        "decoding would need 4 CPUs to keep up with them, and the cluster has 2",
    ]


def test_where_no_image_could_be_explained_nothing_is_estimated() -> None:
    config = load_config({"input": "in", "output": "out", "model": "torchvision:resnet50"})
    replicas = Replicas(1, 1, gpus=1, cpus=0, threads=None, decode_cpus=1, decoders=None)
    sample = Sample(8, 8, "truncated", 0, explaining=0, decoding=0.02, loading=10, bytes=0)
    found = Estimate(100, "folder", 100, 10, "layer4", replicas, cpus=2, sample=sample)
    assert list(lines_of(config, found, price=2.0))[2:] == ["none of the 8 images tried could be explained: truncated"]
