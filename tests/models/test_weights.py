"""Weights: which files are read, that none runs code, how they are fitted, and what identifies a model."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import googlenet, resnet18

from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import load_model
from igcam_batch.models.load import build_classifier
from igcam_batch.models.weights import fit, read_state_dict, sha256


def network(classes: int = 1000, seed: int = 7) -> nn.Module:
    torch.manual_seed(seed)
    return resnet18(num_classes=classes)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    """The tensors of a resnet18 that was fine-tuned to 7 classes."""
    return network(classes=7).state_dict()


def refusal(weights: Path, model: str = "torchvision:resnet18") -> str:
    with pytest.raises(InputError) as caught:
        build_classifier(model, str(weights))
    message = str(caught.value)
    assert message.startswith(f"--weights {weights}: ")
    assert "\n" not in message
    return message


def same(module: nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())


class TestFiles:
    @pytest.mark.parametrize(
        "wrapped",
        [
            lambda tensors: tensors,
            lambda tensors: {"state_dict": tensors, "epoch": 3, "optimizer": {"lr": 0.1}},
            lambda tensors: {"model_state_dict": tensors},
            lambda tensors: {"model": tensors},
            lambda tensors: {"state_dict": {"module": tensors}},
            lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
            lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {f"_orig_mod.module.{name}": tensor for name, tensor in tensors.items()},
            lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()},
        ],
        ids=[
            "state_dict()",
            "state_dict",
            "model_state_dict",
            "model",
            "nested",
            "DataParallel",
            "DataParallel in state_dict",
            "compiled",
            "compiled in DataParallel",
            "DataParallel compiled",
            "Lightning",
        ],
    )
    def test_a_checkpoint_is_read_as_people_save_it(self, tmp_path, trained, wrapped):
        torch.save(wrapped(trained), tmp_path / "a.pth")
        assert same(build_classifier("torchvision:resnet18", str(tmp_path / "a.pth")).module, trained)

    def test_the_old_format_of_torch_too(self, tmp_path, trained):
        torch.save(trained, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
        assert same(build_classifier("torchvision:resnet18", str(tmp_path / "a.pth")).module, trained)

    def test_safetensors_too(self, tmp_path, trained):
        save_file(trained, tmp_path / "a.safetensors")
        assert same(build_classifier("torchvision:resnet18", str(tmp_path / "a.safetensors")).module, trained)

    def test_half_precision_is_widened(self, tmp_path, trained):
        halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in trained.items()}
        torch.save(halves, tmp_path / "a.pth")
        module = build_classifier("torchvision:resnet18", str(tmp_path / "a.pth")).module
        assert module.fc.weight.dtype == torch.float32
        assert torch.equal(module.fc.weight, halves["fc.weight"].float())

    @pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
    def test_a_missing_file_is_named(self, tmp_path, name):
        assert "No such file or directory" in refusal(tmp_path / name)

    def test_a_directory_is_refused(self, tmp_path):
        assert "Is a directory" in refusal(tmp_path)

    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"version https://git-lfs.github.com/spec/v1\n"])
    def test_what_is_no_checkpoint_is_refused(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        assert "no checkpoint" in refusal(tmp_path / name)

    @pytest.mark.parametrize("kept", [0.2, 0.9])
    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    def test_a_truncated_checkpoint_is_refused(self, tmp_path, name, kept):
        tensors = {"weight": torch.zeros(1000)}
        save_file(tensors, tmp_path / name) if name.endswith("safetensors") else torch.save(tensors, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(kept * len(data))])
        assert "no checkpoint" in refusal(tmp_path / name)

    @pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {}, torch.zeros(3)])
    def test_a_checkpoint_without_tensors_by_name_is_refused(self, tmp_path, content):
        torch.save(content, tmp_path / "a.pth")
        assert "holds no tensors by name" in refusal(tmp_path / "a.pth")

    def test_a_whole_module_is_refused_with_what_to_save_instead(self, tmp_path):
        torch.save(nn.Linear(2, 2), tmp_path / "a.pth")
        assert "save `model.state_dict()`" in refusal(tmp_path / "a.pth")


class Program:
    """What an attacker puts into a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def plant(program: Program, file: Path, kind: str) -> None:
    if kind == "pickle":
        file.write_bytes(pickle.dumps({"fc.weight": program}, protocol=2))
    else:
        torch.save({"fc.weight": program}, file, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
class TestHostileCheckpoint:
    def test_a_pickle_that_would_run_code_is_refused_and_does_not(self, tmp_path, kind):
        plant(Program(tmp_path / "ran"), tmp_path / "a.pth", kind)
        assert "a pickle can run code" in refusal(tmp_path / "a.pth")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("model", ["timm:resnet18", "torchray:vgg16_voc", "torchray:resnet50_voc"])
    def test_in_no_other_family_of_models_does_it_run(self, tmp_path, kind, model):
        plant(Program(tmp_path / "ran"), tmp_path / "a.pth", kind)
        assert "a pickle can run code" in refusal(tmp_path / "a.pth", model)
        assert not (tmp_path / "ran").exists()

    def test_nor_where_it_is_called_safetensors(self, tmp_path, kind):
        plant(Program(tmp_path / "ran"), tmp_path / "a.safetensors", kind)
        assert "no checkpoint" in refusal(tmp_path / "a.safetensors")
        assert not (tmp_path / "ran").exists()

    def test_from_the_hub_of_timm_it_does_not_run_either(self, tmp_path, kind, monkeypatch):
        import timm.models._builder as builder

        plant(Program(tmp_path / "ran"), tmp_path / "pytorch_model.bin", kind)

        def from_hub(*_arguments: object, **_options: object) -> object:
            """What `load_state_dict_from_hf` does with a file that is no safetensors."""
            return torch.load(tmp_path / "pytorch_model.bin", map_location="cpu", weights_only=False)

        monkeypatch.setattr(builder, "load_state_dict_from_hf", from_hub)
        monkeypatch.setattr(builder, "load_state_dict_from_url", from_hub)
        with pytest.raises(InputError, match=r"^--model timm:resnet18 --weights DEFAULT: "):
            build_classifier("timm:resnet18", "DEFAULT")
        assert not (tmp_path / "ran").exists()

    def test_it_would_have_run(self, tmp_path, kind):
        plant(Program(tmp_path / "ran"), tmp_path / "a.pth", kind)
        if kind == "pickle":
            pickle.loads((tmp_path / "a.pth").read_bytes())
        else:
            torch.load(tmp_path / "a.pth", weights_only=False)
        assert (tmp_path / "ran").exists()

    def test_in_the_librarys_cache_it_does_not_run_either(self, tmp_path, kind, monkeypatch):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        cache = tmp_path / "hub" / "checkpoints"
        cache.mkdir(parents=True)
        plant(Program(tmp_path / "ran"), cache / "resnet18-f37072fd.pth", kind)
        with pytest.raises(InputError, match=r"^--model torchvision:resnet18 --weights DEFAULT: .*cache is damaged"):
            build_classifier("torchvision:resnet18", "DEFAULT")
        assert not (tmp_path / "ran").exists()


class TestClassCount:
    def test_a_checkpoint_of_7_classes_gives_7_outputs_without_imagenets_names(self, tmp_path, trained):
        torch.save(trained, tmp_path / "a.pth")
        classifier = build_classifier("torchvision:resnet18", str(tmp_path / "a.pth"))
        assert classifier.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
        assert classifier.class_names is classifier.class_ids is None

    def test_auxiliary_heads_change_with_the_head(self, tmp_path):
        tuned = googlenet(num_classes=5, init_weights=False).eval()
        torch.save(tuned.state_dict(), tmp_path / "a.pth")
        module = build_classifier("torchvision:googlenet", str(tmp_path / "a.pth")).module.eval()
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(module(images), tuned(images))

    def test_of_timm_too(self, tmp_path):
        import timm

        tuned = timm.create_model("test_resnet", num_classes=3).eval()
        torch.save(tuned.state_dict(), tmp_path / "a.pth")
        classifier = build_classifier("timm:test_resnet", str(tmp_path / "a.pth"))
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(classifier.module.eval()(images), tuned(images))
        assert classifier.class_names is None

    def test_imagenets_own_1000_keep_their_names(self, tmp_path):
        torch.save(network().state_dict(), tmp_path / "a.pth")
        classifier = build_classifier("torchvision:resnet18", str(tmp_path / "a.pth"))
        assert classifier.class_names is not None
        assert classifier.class_names[281] == "tabby"


class TestFit:
    def test_missing_unexpected_and_mis_shaped_names_are_all_said(self, tmp_path):
        tensors = dict(network().state_dict())
        del tensors["layer1.0.conv1.weight"]
        tensors["head.weight"] = torch.zeros(3)
        tensors["conv1.weight"] = torch.zeros(32, 3, 7, 7)
        torch.save(tensors, tmp_path / "a.pth")
        message = refusal(tmp_path / "a.pth")
        assert "do not fit torchvision:resnet18" in message
        assert "1 missing (layer1.0.conv1.weight)" in message
        assert "1 unexpected (head.weight)" in message
        assert "1 of another shape (conv1.weight (32, 3, 7, 7) for (64, 3, 7, 7))" in message

    def test_of_many_names_a_few_are_said_and_how_many(self, tmp_path):
        torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
        message = refusal(tmp_path / "a.pth")
        missing = [name for name in network().state_dict() if not name.endswith("num_batches_tracked")]
        assert f"{len(missing)} missing (conv1.weight, " in message
        assert "…" in message
        assert len(message) < 500

    def test_a_module_that_is_refused_keeps_what_it_had(self):
        module = nn.Linear(2, 2)
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        with pytest.raises(InputError):
            fit(module, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, "a.pth", "linear")
        assert same(module, before)

    def test_the_counters_of_old_checkpoints_may_be_missing(self, tmp_path, trained):
        kept = {name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}
        torch.save(kept, tmp_path / "a.pth")
        module = build_classifier("torchvision:resnet18", str(tmp_path / "a.pth")).module
        assert torch.equal(module.fc.weight, trained["fc.weight"])

    def test_a_prefix_that_the_model_itself_has_stays(self, tmp_path):
        inner = nn.ModuleDict({"model": nn.Linear(2, 2)})
        torch.save(inner.state_dict(), tmp_path / "a.pth")
        from igcam_batch.models.weights import without_prefix

        tensors = read_state_dict(str(tmp_path / "a.pth"))
        assert without_prefix(tensors, inner.state_dict()).keys() == {"model.weight", "model.bias"}


def loaded_sha256(model: str) -> str:
    return load_model(AuditConfig(input="a", output="b", model=model, weights="none", input_size=64)).sha256


class TestIdentity:
    def test_random_weights_are_the_same_in_every_process(self):
        models = ("torchvision:resnet18", "timm:test_resnet")
        program = (
            "import sys, torch; torch.rand(3); sys.path.insert(0, sys.argv[1])\n"
            "from test_weights import loaded_sha256\n"
            "sys.stdout.write(' '.join(loaded_sha256(model) for model in sys.argv[2:]))"
        )
        there = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent), *models],
            capture_output=True,
            text=True,
            check=True,
        )
        torch.rand(5)
        assert there.stdout.split() == [loaded_sha256(model) for model in models]

    def test_drawing_them_leaves_the_generator_of_the_caller_alone(self):
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        build_classifier("torchvision:resnet18", "none")
        assert torch.equal(torch.rand(4), expected)

    def test_sha256_is_over_names_types_shapes_and_bytes(self):
        import hashlib

        module = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
        text = hashlib.sha256()
        for name, tensor in module.state_dict().items():
            text.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
        assert sha256(module) == text.hexdigest()

    def test_sha256_differs_when_one_weight_or_one_buffer_does(self):
        module = network()
        found = {sha256(module)}
        with torch.no_grad():
            module.layer3[0].conv2.weight[0, 0, 0, 0] += 1e-6
            found.add(sha256(module))
            module.bn1.running_mean[5] += 1
            found.add(sha256(module))
            module.bn1.num_batches_tracked += 1
            found.add(sha256(module))
        assert len(found) == 4

    def test_sha256_is_of_the_weights_that_were_loaded(self, tmp_path, trained):
        torch.save(trained, tmp_path / "a.pth")
        save_file(trained, tmp_path / "a.safetensors")
        found = {
            load_model(
                AuditConfig(
                    input="a", output="b", model="torchvision:resnet18", weights=str(tmp_path / name), input_size=64
                )
            ).sha256
            for name in ("a.pth", "a.safetensors")
        }
        assert found == {sha256(network(classes=7))}

    def test_sha256_takes_every_type_of_tensor(self):
        module = nn.Module()
        for name, dtype in (("a", torch.bfloat16), ("b", torch.float16), ("c", torch.int64), ("d", torch.bool)):
            module.register_buffer(name, torch.ones(2, 3, dtype=dtype).T)
        module.register_buffer("e", torch.zeros(0))
        assert len(sha256(module)) == 64
