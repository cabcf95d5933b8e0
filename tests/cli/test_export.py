"""`igcam-batch export`, as it is typed."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import as_voc
from drawings import picture
from finished_runs import finished_run

from igcam_batch.cli.export import export
from igcam_batch.report.colours import COLOURS
from igcam_batch.report.export.export import FORMS
from igcam_batch.storage import open_store

HOSTILE = (
    "../../../escaped.png",
    "/tmp/igcam-escaped.png",
    "..",
    "a/../../b",
    "<script>alert(1)</script>",
    "\x1b[2Jcleared",
    "two\nlines",
    "s3://bucket/escaped",
    "x" * 5000,
    "\U0001f40d\u202egnp.exe",
    "Twin.png",
    "twin.PNG",
    "a/twin.png",
)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("voc")
    return finished_run(as_voc(root / "data"), root / "out")


def test_its_choices_are_those_of_the_forms_and_colours() -> None:
    choices = {option.name: getattr(option.type, "choices", None) for option in export.params}
    assert tuple(choices["form"]) == FORMS
    assert tuple(choices["colours"]) == COLOURS


@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_what_it_wrote_and_leaves_a_mark(
    output: str, run: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    ran = run("export", output, tmp_path / "dir", "--format", form, "--limit", 2, "--method", "grad-cam")
    assert ran.code == 0, ran.err
    assert ran.out.startswith(f"{form}: ")
    assert ran.out.endswith("\n")
    assert len(ran.out.splitlines()) == 1
    mark = json.loads((tmp_path / "dir" / "export.json").read_text())
    assert (mark["state"], mark["format"], mark["methods"], mark["limit"]) == ("finished", form, ["grad-cam"], 2)
    again = run("export", output, tmp_path / "dir", "--format", form)
    assert (again.code, "--overwrite it" in again.err) == (2, True)
    other = run("export", output, tmp_path / "dir", "--format", "numpy", "--overwrite")
    assert other.code == 0
    assert {path.name for path in (tmp_path / "dir").iterdir()} == {"export.json", "maps"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "coco", "--size", 8), "--size: is of --format overlay and numpy, not of coco"),
        (("--format", "numpy", "--threshold", 0.5), "--threshold: is of --format coco, not of numpy"),
        (("--format", "fiftyone", "--colours", "turbo"), "--colours: is of --format overlay, not of fiftyone"),
        (("--format", "numpy", "--method", "cam"), "--method cam:"),
        (("--format", "jpeg"), "'jpeg' is not one of"),
        (("--format", "coco", "--threshold", 1), "--threshold"),
        ((), "--format"),
    ],
)
def test_options_that_do_not_fit_are_said_and_nothing_is_written(
    output: str, run: Callable[..., Any], tmp_path: Path, options: tuple, said: str
) -> None:
    ran = run("export", output, tmp_path / "dir", *options)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "dir").exists()


def test_places_that_will_not_do_are_one_line(output: str, run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for source, target, code, said in (
        (tmp_path / "nothing", tmp_path / "dir", 2, "holds no audit"),
        (output, output, 2, "which is no part of an export"),
        (output, tmp_path / "file", 2, "is a file; name a directory"),
    ):
        ran = run("export", source, target, "--format", "numpy")
        assert (ran.code, len(ran.err.splitlines()), said in ran.err) == (code, 1, True), ran.err
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("form", FORMS)
def test_ids_of_images_lead_nowhere_and_stay_apart(run: Callable[..., Any], tmp_path: Path, form: str) -> None:
    images = tmp_path / "images"
    images.mkdir()
    picture(1).save(images / "a.png")
    with (images / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "image_id", "label"])
        rows.writerows(["a.png", name, "cat"] for name in HOSTILE)
    output = finished_run(images, tmp_path / "run", method=("grad-cam",))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    ran = run("export", output, tmp_path / "a" / "dir", "--format", form)
    assert ran.code == 0, ran.err
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after > before
    assert all(path.is_relative_to(tmp_path / "a" / "dir") for path in after - before)
    assert not Path("/tmp/igcam-escaped.png").exists()
    pictures = {"overlay": "*.jpg", "fiftyone": "*.png"}
    if form in pictures:
        names = [path.name.casefold() for path in (tmp_path / "a" / "dir").rglob(pictures[form])]
        assert len(set(names)) == len(HOSTILE)


def test_names_are_listed_with_the_images_they_are_of_in_coco(
    run: Callable[..., Any], output: str, tmp_path: Path
) -> None:
    run("export", output, tmp_path / "dir", "--format", "coco")
    images = json.loads((tmp_path / "dir" / "boxes" / "grad-cam.json").read_text())["images"]
    assert [image["file_name"][-5:] for image in images] == ["1.png", "2.png", "3.png"]


@pytest.mark.xdist_group("s3")
@pytest.mark.parametrize("form", FORMS)
def test_dir_may_be_in_s3(output: str, bucket: str, run: Callable[..., Any], form: str) -> None:
    ran = run("export", output, f"s3://{bucket}/exports/a", "--format", form)
    assert ran.code == 0, ran.err
    store = open_store(f"s3://{bucket}/exports/a")
    assert json.loads(store.read("export.json"))["state"] == "finished"
    assert len(list(store.list())) > 1
    assert run("export", output, f"s3://{bucket}/exports/a", "--format", form).code == 2
    assert run("export", output, f"s3://{bucket}/exports", "--format", form).code == 2  # holds another's files
