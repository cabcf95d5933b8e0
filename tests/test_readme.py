"""README.md: what it shows of Python and SQL runs, and gives what it says."""

import contextlib
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
import torchvision
from drawings import picture
from factories import small_cnn
from finished_runs import METHODS, audit_here

import igcam_batch
from igcam_batch.storage import open_store
from igcam_batch.tables.record import read_record
from igcam_batch.worker.preprocess import Preprocess

README = (Path(__file__).parents[1] / "README.md").read_text()
NAMES = ("0.png", "1.png")


def block(language: str, says: str) -> str:
    """The one block in a language that says something."""
    found = [code for code in re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S) if says in code]
    assert len(found) == 1, (language, says)
    return found[0]


def ran(code: str, directory: Path, **names: Any) -> dict[str, Any]:
    """The names that a block leaves, of those it is given and its own."""
    with contextlib.chdir(directory):
        exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `audit/`: classes 1 and 2 of two images, 50 steps from black."""
    root = tmp_path_factory.mktemp("readme")
    (root / "photos").mkdir()
    for seed, name in enumerate(NAMES):
        picture(seed).save(root / "photos" / name)
    audit_here(root / "photos", root / "audit", method=METHODS, target="class:1,2", steps=50)
    return root / "audit"


def test_explain_gives_the_maps_of_the_audit_and_from_zeros_others(audit: Path) -> None:
    model = small_cnn()
    pixels = np.stack([model.recipe.pixels(picture(seed)) for seed in range(len(NAMES))])
    images = Preprocess(model.recipe, torch.device("cpu"))(pixels)
    found = ran(block("python", "igcam_batch.explain("), audit.parent, model=model.module, images=images)
    rows = igcam_batch.read_heatmaps(str(audit), methods=["integrated-grad-cam"])
    keys = list(zip(rows["image_id"].to_pylist(), rows["target"].to_pylist(), strict=True))
    wanted = [keys.index(key) for key in zip(NAMES, found["targets"].tolist(), strict=True)]
    expected = torch.from_numpy(rows["heatmap"].combine_chunks().to_numpy_ndarray()[wanted])
    torch.testing.assert_close(found["maps"], expected, rtol=1e-3, atol=1e-5)
    zeros = igcam_batch.explain(model.module, images, found["targets"], steps=50)
    assert not torch.allclose(zeros, expected, rtol=0.1)


def test_the_tables_are_read_back(audit: Path) -> None:
    found = ran(block("python", "read_scores("), audit.parent)
    assert len(found["scores"]) == len(NAMES) * 2 * len(METHODS)
    assert found["pixels"].shape == (len(found["scores"]), 224, 224, 3)
    with contextlib.chdir(audit.parent):
        assert len(duckdb.sql(block("sql", "avg(")).fetchall()) == len(found["scores"])


def test_a_factory_is_a_model_with_its_own_recipe_names_and_weights(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mymodels.py").write_text(block("python", "def factory("))
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "best.pth")
    images, output = audit.parent / "photos", str(tmp_path / "out")
    audit_here(images, Path(output), model="mymodels:factory", weights=str(tmp_path / "best.pth"), steps=2)
    assert set(igcam_batch.read_scores(output)["predicted_name"].to_pylist()) <= {"cat", "dog", "yak"}
    record = read_record(open_store(output))
    assert record is not None
    assert (record.model.recipe.size, record.model.recipe.resize_size) == (128, 144)
