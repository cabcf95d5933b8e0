"""What cannot be done as asked: exit code 2, one clear line, nothing written, and no Ray started for it."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from factories import small_cnn
from torchvision.models import resnet18

MODEL = ("--model", "factories:small_cnn")
RESNET = ("--model", "torchvision:resnet18")


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a wrong flag would have started a cluster."""

    def started(*_: object, **__: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def refused(run: Callable[..., Any], *arguments: object) -> str:
    ran = run(*arguments)
    assert ran.code == 2, ran
    assert ran.out == ""
    lines = [line for line in ran.err.splitlines() if line.startswith("igcam-batch: ")]
    assert len(lines) == 1, ran.err
    assert "Traceback" not in ran.err
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--model", "torchvision:resnet5"), "--model torchvision:resnet5: torchvision has no such model; .*resnet50"),
        (("--model", "timm:resnet5"), "--model timm:resnet5: timm has no such model; .*resnet50"),
        (("--model", "resnet50"), "--model resnet50: not a model reference; there are: torchvision:NAME, timm:NAME"),
        (("--model", "nowhere.models:net"), "--model nowhere.models:net: no module nowhere "),
        (
            ("--model", "factories:nothing"),
            "factories:nothing: factories has no function nothing; it has .*small_cnn",
        ),
        (("--model", "factories:wrong_type"), "must give a torch.nn.Module or an igcam_batch.Classifier, not str"),
        (("--model", "factories_broken:raises"), "calling raises\\(\\) raised KeyError: 'no such checkpoint'"),
        (("--model", "factories_broken:needs_argument"), "calling needs_argument\\(\\) raised TypeError: .*'name'"),
        (("--model", "factories_broken:two_outputs"), "must give logits \\(batch, classes\\); it gave tuple"),
        (("--model", "factories_broken:maps"), "must give logits \\(batch, classes\\); it gave \\(1, 5, 1, 1\\)"),
        (
            ("--model", "torchvision:alexnet", "--weights", "none", "--input-size", "8"),
            "--model torchvision:alexnet: a forward pass of 8 x 8 pixels raised RuntimeError: .*--input-size",
        ),
        ((*MODEL, "--weights", "gs://bucket/a.pth"), "--weights gs://bucket: gs:// cannot be read; .* or an s3:// URI"),
        (
            (*MODEL, "--config", "gs://bucket/a.yaml"),
            "--config gs://bucket/a.yaml: gs:// cannot be read; .* an s3:// URI",
        ),
        ((), "--model: is required"),
        (
            (*MODEL, "--layer", "layer5"),
            "--layer layer5: .* no such module; the last feature map is features",
        ),
        ((*MODEL, "--layer", "head"), "--layer head: gives no spatial map"),
        (
            (*MODEL, "--method", "gradcam"),
            "--method gradcam: .*there are: integrated-grad-cam, grad-cam, grad-cam\\+\\+",
        ),
        (
            (*MODEL, "--target", "best"),
            "--target best: no such target; there are: predicted, label, labels, predicted\\+label, top-K",
        ),
        ((*MODEL, "--target", "class:5"), "--target class:5: the model has 5 classes, 0 to 4"),
        ((*MODEL, "--target", "top-6"), "--target top-6: the model has 5 classes"),
        ((*MODEL, "--target", "label"), "--target label: INPUT gives its images no labels"),
        ((*MODEL, "--metric", "iou"), "--metric iou: .*there are: ebpg, bbox, drop, increase"),
        ((*MODEL, "--steps", "0"), "--steps 0: .*greater than or equal to 1"),
        ((*MODEL, "--steps", "many"), "--steps many: .*integer"),
        (
            (*MODEL, "--rule", "simpson"),
            "--rule simpson: .*: riemann, trapezoid, gauss-legendre, gauss-lobatto",
        ),
        ((*MODEL, "--weights", "nowhere.pth"), "--weights .*nowhere.pth: No such file"),
        ((*MODEL, "--config", "nowhere.yaml"), "--config nowhere.yaml: No such file"),
        ((*MODEL, "--class-map", "nowhere.json"), "--class-map nowhere.json: No such file"),
    ],
)
def test_a_wrong_flag_is_named_with_its_value_and_the_way_out(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    import re

    line = refused(run, "audit", pictures("a.png"), tmp_path / "out", *flags)
    assert re.search(says, line), line
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.*"))


def test_an_unknown_flag_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("audit", tmp_path, tmp_path / "out", "--stepz", "5")
    assert ran.code == 2
    assert "No such option" in ran.err
    assert "--steps" in ran.err


def test_input_that_is_not_there_is_named(run: Callable[..., Any], tmp_path: Path) -> None:
    line = refused(run, "audit", tmp_path / "nowhere", tmp_path / "out", *MODEL)
    assert f"INPUT {tmp_path}/nowhere: no such file or directory" in line


def test_input_that_is_a_file_is_named(run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path) -> None:
    assert "is a file; name a directory" in refused(run, "audit", pictures("a.png") / "a.png", tmp_path / "out", *MODEL)


def test_input_without_images_says_what_counts_as_one(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    line = refused(run, "audit", tmp_path / "in", tmp_path / "out", *MODEL)
    assert "no images" in line
    assert ".png" in line


def test_labels_that_the_model_does_not_know_are_listed(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    images = pictures("cat/1.png", "yak/2.png", "zebu/3.png")
    line = refused(run, "audit", images, tmp_path / "out", *MODEL, "--target", "label")
    assert (
        "2 of 3 labels are no class of factories:small_cnn (yak of yak/2.png, zebu of zebu/3.png); --class-map" in line
    )


def test_weights_that_do_not_fit_are_named_by_parameter(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    state = resnet18(weights=None).state_dict()
    state["odd.weight"] = state.pop("conv1.weight")
    torch.save(state, tmp_path / "odd.pth")
    line = refused(run, "audit", pictures("a.png"), tmp_path / "out", *RESNET, "--weights", tmp_path / "odd.pth")
    assert "1 missing (conv1.weight)" in line
    assert "1 unexpected (odd.weight)" in line


def test_a_mangled_checkpoint_is_no_traceback(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    torch.save(small_cnn().module, tmp_path / "pickled.pth")  # a whole module: code, which is not run
    line = refused(run, "audit", pictures("a.png"), tmp_path / "out", *MODEL, "--weights", tmp_path / "pickled.pth")
    assert "holds more than tensors" in line


def test_a_named_cluster_that_does_not_answer_is_told_at_once(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listening
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        line = refused(run, "audit", pictures("a.png"), tmp_path / "out", *MODEL)
    assert f"RAY_ADDRESS {address}: no Ray cluster answers there" in line
    assert "RAY_ADDRESS=local starts one on this machine" in line


def test_an_address_that_takes_jobs_is_told(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    line = refused(run, "plan", pictures("a.png"), tmp_path / "out", *MODEL)
    assert "http://127.0.0.1:8265 takes jobs: `ray job submit -- igcam-batch ...` runs commands there" in line


def test_tables_without_a_run_are_not_overwritten_unasked(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out" / "scores").mkdir(parents=True)
    (tmp_path / "out" / "scores" / "mine.parquet").write_bytes(b"precious")
    line = refused(run, "audit", pictures("a.png"), tmp_path / "out", *MODEL)
    assert "holds scores but no run.json" in line
    assert "--overwrite" in line
    assert (tmp_path / "out" / "scores" / "mine.parquet").read_bytes() == b"precious"


def test_output_inside_a_file_is_named(run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(run, "audit", pictures("a.png"), tmp_path / "file" / "out", *MODEL)
    assert f"OUTPUT {tmp_path}/file/out: {tmp_path}/file is a file" in line


def test_output_that_is_a_link_to_nothing_is_named_with_where_it_leads(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    images = pictures("a.png")
    for output in ("link", "link/out"):
        line = refused(run, "audit", images, tmp_path / output, *MODEL)
        assert f"OUTPUT {tmp_path}/{output}: {tmp_path}/link is a link to {tmp_path}/nowhere, where nothing is" in line
    assert "circle is a link to" in refused(run, "audit", images, tmp_path / "circle", *MODEL)
    assert not (tmp_path / "nowhere").exists()


def test_a_place_whose_name_is_not_utf_8_is_told(
    run: Callable[..., Any], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    line = refused(run, "audit", pictures("a.png"), f"{tmp_path}/o\udcfft", *MODEL)
    assert line == rf"igcam-batch: OUTPUT {tmp_path}/o\xfft: is no UTF-8, in which tables keep names; name it otherwise"


def test_output_may_not_be_input(run: Callable[..., Any], pictures: Callable[..., Path]) -> None:
    images = pictures("a.png")
    assert "is INPUT" in refused(run, "audit", images, images, *MODEL)


def test_status_of_no_run_says_how_to_start_one(run: Callable[..., Any], tmp_path: Path) -> None:
    assert "holds no audit; `igcam-batch audit INPUT" in refused(run, "status", tmp_path)


def test_a_transformer_has_no_layer_to_explain_and_is_told_so(run: Callable[..., Any]) -> None:
    assert "transformer" in refused(run, "layers", "torchvision:vit_b_16")


def test_a_wrong_value_is_told_before_anything_heavy_is_imported(pictures: Callable[..., Path], tmp_path: Path) -> None:
    code = (
        "import sys; from igcam_batch.cli import main\n"
        f"sys.argv = ['igcam-batch', 'audit', {str(pictures('a.png'))!r}, {str(tmp_path / 'o')!r}, '--steps', '0']\n"
        "try: main()\nexcept SystemExit as stopped: assert stopped.code == 2\n"
        "assert not {'torch', 'ray', 'pyarrow', 'torchvision'} & set(sys.modules)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
