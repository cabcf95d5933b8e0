"""`igcam-batch report` and `igcam-batch compare`: what they print, and where they write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import picture
from written_runs import METHOD, SIDE, blob, score, write_run

from igcam_batch.storage import open_store

COUNT = 40


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        picture(number, (SIDE, SIDE)).save(root / f"{number}.png")
    return root


def write(output: Path | str, images: Path, confidence: float, **config: Any) -> str:
    """A run in which class 1 looks at a corner."""
    rows = [score(f"{number}.png", number % 2, confidence=confidence, ebpg=0.25) for number in range(COUNT)]
    maps = np.stack([blob(6, 6) if row["target"] else blob(3, 3) for row in rows])
    return write_run(output, rows, maps, images=images, **config)


def test_report_prints_the_means_and_where_the_page_is(tmp_path: Path, images: Path, run: Callable[..., Any]) -> None:
    output = write(tmp_path / "out", images, 0.9)
    ran = run("report", f"{output}/")
    assert ran.code == 0, ran.err
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "metric method mean 95 % interval rows better than"
    assert f"EBPG % {METHOD} 25.0 25.0 to 25.0 40" in lines
    assert lines[-1] == f"look at {output}/report.html"
    for name in ("report.html", "clusters.parquet", "summary.parquet", "summary.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_report_of_no_run_is_one_line(tmp_path: Path, run: Callable[..., Any]) -> None:
    for output in (tmp_path, tmp_path / "nowhere"):
        ran = run("report", output)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"igcam-batch: {output}: holds no audit; `igcam-batch audit INPUT {output}` starts one\n"


def test_compare_prints_what_changed_and_where_the_page_is(
    tmp_path: Path, images: Path, run: Callable[..., Any]
) -> None:
    a = write(tmp_path / "a", images, 0.5)
    b = write(tmp_path / "b", images, 0.75, model="factories:other", sha256="1" * 64)
    ran = run("compare", a, b, "--output", tmp_path / "cmp")
    assert ran.code == 0, ran.err
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "A small_cnn, B other: 40 images in both, 40 pairs"
    assert "Confidence 50.0 75.0 +25.0 (+25.0 to +25.0)" in lines
    said = "No side is named better on Drop and Increase: of two models, each is measured by its own confidence."
    assert said in lines
    assert "rank correlation 1.000 1.000 to 1.000 40" in lines
    assert lines[-1] == f"look at {tmp_path}/cmp/comparison.html"
    again = run("compare", a, b, "--output", tmp_path / "cmp")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert run("compare", a, b, "--output", tmp_path / "cmp", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method-b", "cam"), "--method-b cam: "),
        (("--images", "201"), "201 is not in the range 0<=x<=200"),
    ],
)
def test_compare_refuses_what_it_cannot_do(
    tmp_path: Path,
    images: Path,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    a, b = write(tmp_path / "a", images, 0.5), write(tmp_path / "b", images, 0.75)
    monkeypatch.chdir(tmp_path)
    ran = run("compare", a, b, *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "comparison").exists()


@pytest.mark.xdist_group("s3")
def test_both_read_and_write_s3(bucket: str, images: Path, run: Callable[..., Any]) -> None:
    a, b = write(f"s3://{bucket}/a", images, 0.5), write(f"s3://{bucket}/b", images, 0.75)
    assert run("report", a).code == 0
    page = open_store(a).read("report.html").decode()
    assert page.startswith("<!doctype html>")
    assert "look at the bottom right corner" in page
    assert page.count("data:image/jpeg;base64,") > 6
    ran = run("compare", a, b, "--output", f"s3://{bucket}/cmp")
    assert ran.code == 0, ran.err
    store = open_store(f"s3://{bucket}/cmp")
    assert store.read("comparison.html").startswith(b"<!doctype html>")
    assert store.exists("differences.parquet")
    assert len(list(store.list("changes"))) == 1
