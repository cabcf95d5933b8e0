"""Weights in S3: the same model as from a file, nothing left behind, and told within seconds what is wrong."""

import os
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import load_model, weights
from igcam_batch.models.load import build_classifier
from igcam_batch.storage import open_store

pytestmark = pytest.mark.xdist_group("s3")
MODEL = "torchvision:resnet18"


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go."""
    directory = tmp_path / "aside"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def identity(path: str) -> str:
    return load_model(AuditConfig(input="a", output="b", model=MODEL, weights=path, input_size=64)).sha256


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_an_object_is_read_as_a_file_is(bucket: str, tmp_path: Path, aside: Path, suffix: str) -> None:
    torch.manual_seed(3)
    tensors = resnet18(num_classes=7).state_dict()
    file = tmp_path / f"a.{suffix}"
    save_file(tensors, file) if suffix == "safetensors" else torch.save(tensors, file)
    open_store(f"s3://{bucket}/models").write(file.name, file.read_bytes())
    assert identity(f"s3://{bucket}/models/{file.name}") == identity(str(file))
    assert list(aside.iterdir()) == []


def test_while_it_is_read_nobody_else_can_read_the_copy(bucket: str, aside: Path, monkeypatch) -> None:
    open_store(f"s3://{bucket}").write("a.pth", b"x")
    seen = []

    def load(file: str, **_options: object) -> None:
        seen.append(Path(file).parent.stat().st_mode & 0o777)
        raise RuntimeError

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(InputError, match=f"^--weights s3://{bucket}/a.pth: no checkpoint"):
        weights.read_state_dict(f"s3://{bucket}/a.pth")
    assert seen == [0o700]
    assert list(aside.iterdir()) == []


def test_a_pickle_that_would_run_code_is_refused(bucket: str, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"a": Program()}, tmp_path / "a.pth")
    open_store(f"s3://{bucket}").write("a.pth", (tmp_path / "a.pth").read_bytes())
    with pytest.raises(InputError, match="a pickle can run code"):
        build_classifier(MODEL, f"s3://{bucket}/a.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("there", "line"),
    [("nothing", "a.pth: No such file or directory"), ("no bucket", "no such bucket"), ("no access", "access denied")],
)
def test_what_cannot_be_had_is_told_within_seconds(bucket: str, monkeypatch, there: str, line: str) -> None:
    if there == "no access":
        open_store(f"s3://{bucket}").write("a.pth", b"x")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    uri = "s3://there-is-no-such-bucket/a.pth" if there == "no bucket" else f"s3://{bucket}/a.pth"
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^--weights {uri}: ") as caught:
        build_classifier(MODEL, uri)
    assert line in str(caught.value)
    assert time.monotonic() - began < 12
