"""What the commands print where all goes well."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written_runs import score, write_run

MODEL = ("--model", "factories:small_cnn", "--steps", "3")


@pytest.mark.xdist_group("ray")
def test_an_audit_ends_with_a_line_that_says_it_all_and_status_agrees(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    images = pictures("a.png", "b.png")
    (images / "broken.png").write_bytes(b"")
    methods = ("--method", "grad-cam", "--method", "grad-cam++")
    ran = run("audit", images, tmp_path / "out", *MODEL, *methods)
    assert ran.code == 0
    (line,) = ran.out.splitlines()
    pace = r"\d+\.\d s, \d+\.\d of them explaining at \d+\.\d\d images/s"
    assert re.fullmatch(rf"3 images, 4 rows, 1 failure; {pace}; tables in {tmp_path}/out", line)
    assert "\x1b" not in ran.err  # a log holds no control characters
    assert "igcam-batch: 3 images in " in ran.err
    why = "1 image failed with: decode: the file is empty; the first: broken.png; "
    assert ran.err.splitlines()[-1] == f"igcam-batch: warning: {why}{tmp_path}/out/failures has it"
    status = run("status", tmp_path / "out")
    assert status.out == "planned 3, scored 2, failed 1, remaining 0; 4 rows\n"
    assert status.err == f"igcam-batch: {why}{tmp_path}/out/failures has it\n"

    ran = run(
        "audit", images, tmp_path / "out", *MODEL, "--method", "grad-cam", "--method", "grad-cam++", "--fail-on-error"
    )
    assert ran.code == 1
    assert "nothing was left to do" in ran.out


@pytest.mark.xdist_group("ray")
def test_a_run_that_could_explain_nothing_is_whole_and_says_why_with_exit_code_1(
    run: Callable[..., Any], tmp_path: Path, ray_cluster: None
) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (64, 64), "white").save(images / name)
    audit = ("audit", images, output, "--model", "factories:not_finite", "--steps", "3")
    said = (
        rf"igcam-batch: {output}: nothing could be explained: all 3 images that were reached failed with: "
        r"explain: .*NaN.*; that mended, --retry-failures takes them up again"
    )
    for flags, line in (
        ((), "3 images, 0 rows, 3 failures; "),
        ((), "3 images, 0 rows, 3 failures; nothing was left to do"),
        (("--retry-failures",), "3 images, 0 rows, 3 failures; "),
    ):
        ran = run(*audit, *flags)
        assert ran.code == 1
        assert ran.out.startswith(line)
        assert re.fullmatch(said, ran.err.splitlines()[-1])
        assert json.loads((output / "run.json").read_text())["state"] == "finished"
    report = run("report", output)
    assert report.code == 2
    assert "nothing to report: all 3 images that were reached failed with: explain: " in report.err


@pytest.mark.xdist_group("ray")
def test_a_gpu_that_the_cluster_does_not_have_is_named_with_what_it_has(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    import ray

    if ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    ran = run("audit", pictures("a.png"), tmp_path / "out", *MODEL, "--gpus-per-worker", "1", "--workers", "2")
    assert ran.code == 2
    assert "--gpus-per-worker 1 --workers 2: needs 2 GPUs; the cluster has 0 GPUs on 1 node and " in ran.err
    assert not list((tmp_path / "out").rglob("*.*"))
    assert "--gpus-per-worker 0 runs on CPUs" in ran.err


@pytest.mark.xdist_group("ray")
def test_flags_win_over_a_config_file(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, ray_cluster: None
) -> None:
    import igcam_batch

    settings = tmp_path / "audit.yaml"
    settings.write_text("model: factories:small_cnn\nsteps: 4\ntarget: class:1\nmethod: [grad-cam, grad-cam++]\n")
    ran = run("audit", pictures("a.png"), tmp_path / "out", "--config", settings, "--target", "class:2")
    assert ran.code == 0
    rows = igcam_batch.read_scores(str(tmp_path / "out")).to_pylist()
    assert [(row["target"], row["method"]) for row in rows] == [(2, "grad-cam"), (2, "grad-cam++")]


def test_layers_tells_the_default_first_and_marks_it(run: Callable[..., Any]) -> None:
    ran = run("layers", "torchvision:resnet18")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "default: layer4, Sequential, 512 x 7 x 7"
    marked = [line.split() for line in ran.out.splitlines() if line.startswith("*")]
    assert marked == [["*", "layer4", "Sequential", "512", "x", "7", "x", "7"]]
    assert "layer3.0.conv1" in ran.out


def test_help_names_every_option_of_the_design(run: Callable[..., Any]) -> None:
    text = run("audit", "--help").out
    options = (
        "layout model weights layer method steps rule score confidence target metric input-size resize mean std "
        "class-map precision batch-size shard-size workers gpus-per-worker limit overwrite config fail-on-error"
    )
    for option in options.split():
        assert f"--{option} " in text or f"--{option}\n" in text


@pytest.mark.parametrize(
    ("flags", "goes_on"),
    [
        ((), "; what was committed is kept, and the same command goes on from there"),
        (("--overwrite",), "; what was committed is kept, and the same command without --overwrite goes on from there"),
    ],
)
def test_ctrl_c_says_which_command_goes_on(
    run: Callable[..., Any],
    pictures: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    goes_on: str,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("igcam_batch.audit.job._begun", lambda *_: None)
    monkeypatch.setattr("igcam_batch.audit.job._explain", interrupted)
    ran = run("audit", pictures("a.png"), tmp_path / "out", *MODEL, *flags)
    assert (ran.code, ran.err.strip()) == (130, f"igcam-batch: interrupted{goes_on}")
    monkeypatch.setattr("igcam_batch.audit.estimate.estimate", interrupted)
    assert run("plan", tmp_path, tmp_path / "out", *MODEL).err.strip() == "igcam-batch: interrupted"


def test_ctrl_c_before_a_run_has_begun_promises_nothing_to_go_on_from(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("igcam_batch.audit.job.load_model", interrupted)
    ran = run("audit", pictures("a.png"), tmp_path / "out", *MODEL)
    said = "igcam-batch: interrupted before any image was explained; the same command begins anew"
    assert (ran.code, ran.err.strip()) == (130, said)
    assert not (tmp_path / "out").exists()


def test_compact_says_where_each_table_is(run: Callable[..., Any], tmp_path: Path) -> None:
    output = write_run(tmp_path / "out", [score("a.png"), score("b.png")], np.zeros((2, 7, 7), np.float32))
    ran = run("compact", f"{output}/")
    assert ran.code == 0, ran.err
    places = [line.partition(": ")[0] for line in ran.out.splitlines()]
    assert places == [f"{output}/compact/{table}" for table in ("scores", "heatmaps", "failures")]
