"""The paper's experiment, whole: TorchRay's two checkpoints on a set in the form of VOC 2007."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import caffe_reference as caffe
import pytest
from click.testing import CliRunner
from datasets import as_voc
from torchray_checkpoints import published_resnet50, published_vgg16, write_as_python2

import igcam_batch
from igcam_batch.report.summary import read_summary

pytestmark = pytest.mark.xdist_group("ray")
ROOT, TESTS = Path(__file__).parents[2], Path(__file__).parents[1]
METHODS = {"grad-cam", "grad-cam++", "integrated-grad-cam"}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "voc2007.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        check=False,
    )


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory):
    places = tmp_path_factory.mktemp("checkpoints")
    vgg16, resnet50 = places / "vgg16_voc.pth.tar", places / "resnet50_voc.pth.tar"
    write_as_python2(published_vgg16(caffe.random_vgg16(20)), vgg16)
    write_as_python2(published_resnet50(caffe.random_resnet50(20)), resnet50)
    yield vgg16, resnet50
    vgg16.unlink()
    resnet50.unlink()


def test_it_prints_the_paper_s_table_beside_ours_for_both_models(checkpoints, tmp_path: Path) -> None:
    voc = as_voc(tmp_path / "voc", labels=(("cat",), ("dog",), ("cat", "person")))
    given = [each for path in checkpoints for each in ("--checkpoint", path)]
    ran = run("--voc", voc, *given, "--output", tmp_path / "out", "--steps", 2, "--limit", 3, "--timed-images", 0)
    assert ran.returncode == 0, ran.stderr
    words = " ".join(ran.stdout.split())
    for model in ("vgg16_voc", "resnet50_voc"):
        assert f"torchray:{model}: 3 images, 4 maps by each method, 0 failures" in ran.stdout.splitlines()
        output = str(tmp_path / "out" / f"torchray-{model}")
        scores = igcam_batch.read_scores(output)
        assert set(scores["method"].to_pylist()) == METHODS
        assert len(scores) == 4 * 3
        assert set(scores["target_name"].to_pylist()) == {"cat", "dog", "person"}
        # Multi-label: the classes' confidences are sigmoids of their logits.
        row = scores.to_pylist()[0]
        assert row["confidence"] == pytest.approx(1 / (1 + 2.718281828 ** -row["score"]), rel=1e-4)
        means = {
            (each["method"], each["metric"]): each["mean"]
            for each in read_summary(output).to_pylist()
            if each["kind"] == "mean" and each["target"] is None
        }
        table = ran.stdout[ran.stdout.index(f"torchray:{model}") :]
        line = next(line for line in table.splitlines() if line.startswith("drop")).split(None, 1)[1]
        cells = re.split(r"\s{2,}", line.strip())
        ours, paper, difference = cells[0].split(" ± ")[0], cells[1], cells[2]
        assert float(ours) == pytest.approx(100 * means["grad-cam", "drop"], abs=0.01)
        assert paper == {"vgg16_voc": "49.47", "resnet50_voc": "35.80"}[model]
        assert float(difference) == pytest.approx(float(ours) - float(paper), abs=0.02)
    assert "time for an image" not in words


def test_another_model_goes_without_the_paper_s_figures_and_is_timed(tmp_path: Path) -> None:
    voc = as_voc(tmp_path / "voc", labels=(("cat",), ("dog",), ("ant",)))
    ran = run("--voc", voc, "--model", "factories:small_cnn", "--output", tmp_path / "out", "--timed-images", 1)
    assert ran.returncode == 0, ran.stderr
    words = " ".join(ran.stdout.split())
    assert "factories:small_cnn: 3 images, 3 maps by each method, 0 failures" in ran.stdout.splitlines()
    assert len(re.findall(r"Integrated Grad-CAM with m = 20 [\d.]+ ms, [\d.]+ times", words)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "voc2007: name a --checkpoint of TorchRay's, or a --model"),
        (("--checkpoint", "nothing.pth.tar"), "voc2007: --weights nothing.pth.tar: No such file"),
        (("--model", "torchvision:resnet99"), "voc2007: --model torchvision:resnet99: torchvision has no such model"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    voc2007 = importlib.import_module("voc2007")
    places = ["--voc", str(as_voc(tmp_path / "voc")), "--output", str(tmp_path / "out")]
    ran = CliRunner().invoke(voc2007.main, [*places, *arguments])
    assert ran.exit_code == 2
    assert ran.stderr.startswith(said)
    assert ran.stderr.count("\n") == 1
