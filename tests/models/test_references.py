"""`--model`: torchvision, timm, or a factory of one's own; and what comes out of a reference ready to be explained."""

import sys
import urllib.error
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from torch import nn

from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.images import IMAGENET_MEAN, Recipe
from igcam_batch.models import Classifier, LoadedModel, list_layers, load_model
from igcam_batch.models.load import build_classifier


def refusal(model: str, weights: str = "none") -> str:
    with pytest.raises(InputError) as caught:
        build_classifier(model, weights)
    message = str(caught.value)
    assert message.startswith(f"--model {model}")
    assert "\n" not in message
    return message


def load(model: str, **settings: object) -> LoadedModel:
    return load_model(AuditConfig(input="a", output="b", model=model, **{"weights": "none"} | settings))


class TestLibraries:
    def test_torchvision_gives_imagenets_names_and_ids(self):
        classifier = build_classifier("torchvision:resnet18", "none")
        assert classifier.module.fc.out_features == 1000
        assert classifier.class_names is not None
        assert classifier.class_ids is not None
        assert (classifier.class_names[285], classifier.class_ids[285]) == ("Egyptian cat", "n02124075")
        assert (classifier.class_names[0], classifier.class_ids[0]) == ("tench", "n01440764")
        assert (classifier.class_names[999], classifier.class_ids[999]) == ("toilet tissue", "n15075141")

    def test_timm_gives_the_same_names_with_or_without_a_tag(self):
        tagged = build_classifier("timm:test_resnet.r160_in1k", "none")
        assert tagged.class_names == build_classifier("torchvision:resnet18", "none").class_names
        assert tagged.recipe == build_classifier("timm:test_resnet", "none").recipe

    @pytest.mark.parametrize(
        ("model", "closest"),
        [
            ("torchvision:resnt18", "resnet18"),
            ("torchvision:mobilenetv3_small", "mobilenet_v3_small"),
            ("timm:resnt50", "resnet50"),
            ("timm:resnet18.a1_in2k", "resnet18.a1_in1k"),
        ],
    )
    def test_an_unknown_name_is_refused_with_the_closest(self, model, closest):
        message = refusal(model)
        assert "has no such model" in message
        assert closest in message.partition("closest: ")[2].split(", ")

    @pytest.mark.parametrize("library", ["torchvision", "timm"])
    def test_a_name_like_no_other_is_refused_with_some_that_there_are(self, library):
        assert "among them " in refusal(f"{library}:qqqqqqqq")

    def test_a_detector_is_no_classifier(self):
        assert "has no such model" in refusal("torchvision:fasterrcnn_resnet50_fpn")


class TestOffline:
    """Nothing here waits for a network: the requests themselves are made to fail."""

    def test_torchvisions_weights_that_cannot_be_had_give_one_clear_line(self, monkeypatch, tmp_path):
        def unreachable(*_arguments: object, **_options: object) -> None:
            raise urllib.error.URLError("Name or service not known")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr(torch.hub, "urlopen", unreachable)
        self.check(refusal("torchvision:resnet18", "DEFAULT"))

    def test_timms_weights_that_cannot_be_had_give_one_clear_line(self, monkeypatch, tmp_path):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        self.check(refusal("timm:test_resnet", "DEFAULT"))

    def check(self, message: str) -> None:
        assert "--weights DEFAULT: could not be loaded" in message
        assert "--weights PATH" in message
        assert "--weights none" in message

    def test_none_needs_no_network(self, monkeypatch):
        import socket

        def no_network(*_arguments: object, **_options: object) -> None:
            raise AssertionError("a connection was opened")

        monkeypatch.setattr(socket.socket, "connect", no_network)
        assert build_classifier("torchvision:resnet18", "none").module
        assert build_classifier("timm:test_resnet", "none").module


MINE = """
from torch import nn
from igcam_batch import Classifier, Recipe

CONSTANT = 3

def net():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    return nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def described():
    return Classifier(net(), Recipe(size=48), class_names=("no", "yes"), default_layer="0")

def text():
    return "a model"

def needs_a_library():
    import a_library_nobody_has

def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))
"""


@pytest.fixture
def my_models(tmp_path: Path, monkeypatch):
    """A module of that name in the working directory."""
    (tmp_path / "my_models.py").write_text(MINE)
    (tmp_path / "broken_models.py").write_text("import a_library_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_models", None)


@pytest.mark.usefixtures("my_models")
class TestFactory:
    def test_in_the_working_directory_gives_a_module_with_the_usual_recipe(self):
        classifier = build_classifier("my_models:net", "DEFAULT")
        assert isinstance(classifier.module, nn.Sequential)
        assert classifier == Classifier(classifier.module, Recipe(224, "stretch", 224))

    def test_may_say_how_images_reach_it(self):
        model = load("my_models:described")
        assert (model.recipe.size, model.classes.name(1), model.layer) == (48, "yes", "0")

    def test_draws_the_same_random_weights_each_time(self):
        one, another = (load("my_models:net").sha256 for _ in range(2))
        assert one == another

    def test_takes_weights_from_a_file(self, tmp_path):
        torch.save({"module.4.bias": torch.ones(2)}, tmp_path / "a.pth")
        with pytest.raises(InputError, match=r"a.pth: do not fit my_models:net: 3 missing \(0.weight, 0.bias, 4.weigh"):
            build_classifier("my_models:net", str(tmp_path / "a.pth"))
        trained = build_classifier("my_models:net", "none").module
        nn.init.ones_(trained[4].bias)
        torch.save({f"module.{name}": tensor for name, tensor in trained.state_dict().items()}, tmp_path / "a.pth")
        module = build_classifier("my_models:net", str(tmp_path / "a.pth")).module
        assert module[4].bias.tolist() == [1, 1]

    def test_a_module_that_is_not_there_is_named(self):
        message = refusal("nowhere.models:net")
        assert "no module nowhere on the import path or in the working directory" in message
        assert "torchvision:NAME, timm:NAME" in message

    def test_a_library_that_the_module_needs_is_named(self):
        assert "no module a_library_nobody_has" in refusal("broken_models:net")

    @pytest.mark.parametrize("name", ["nte", "CONSTANT"])
    def test_a_function_that_is_not_there_is_named_with_those_that_are(self, name):
        message = refusal(f"my_models:{name}")
        assert f"my_models has no function {name}" in message
        assert {"net", "described", "text"} <= set(message.partition("it has ")[2].split(", "))

    def test_of_many_functions_a_few_are_named(self):
        assert len(refusal("os:nothing")) < 200

    def test_anything_but_a_module_is_refused(self):
        assert "must give a torch.nn.Module or an igcam_batch.Classifier, not str" in refusal("my_models:text")

    def test_a_relative_module_is_refused(self):
        assert "in full" in refusal(".my_models:net")

    def test_a_network_without_a_convolution_is_refused(self):
        with pytest.raises(InputError, match="no convolution"):
            load("my_models:perceptron")


class TestLoadModel:
    def test_is_frozen_in_eval_mode_on_the_cpu(self):
        module = load("torchvision:resnet18", input_size=64).module
        assert not any(each.training for each in module.modules())
        assert {(p.requires_grad, p.device.type, p.dtype) for p in module.parameters()} == {
            (False, "cpu", torch.float32)
        }

    def test_says_layer_and_shape_for_the_size_that_is_used(self):
        model = load("torchvision:resnet18")
        assert (model.layer, model.map_shape, model.recipe.size, model.classes.count) == ("layer4", (7, 7), 224, 1000)
        assert load("torchvision:resnet18", input_size=96).map_shape == (3, 3)
        assert load("torchvision:resnet18", layer="layer2").map_shape == (28, 28)

    def test_settings_win_over_the_models_own_recipe(self):
        assert load("torchvision:resnet18").recipe.mean == IMAGENET_MEAN
        recipe = load("torchvision:resnet18", resize="stretch", mean="0,0,0", std="1,1,1", input_size=64).recipe
        assert recipe == Recipe(64, "stretch", 64, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def test_the_class_map_reaches_the_classes(self):
        classes = load("torchvision:resnet18", input_size=64, class_map={"my cat": "Egyptian cat", "x": 3}).classes
        assert (classes.index("my cat"), classes.index("x")) == (285, 3)

    def test_a_layer_that_is_not_there_is_refused(self):
        with pytest.raises(InputError, match=r"^--layer layer5: .*the last feature map is layer4"):
            load("torchvision:resnet18", input_size=64, layer="layer5")


class TestListLayers:
    def test_marks_one_default_the_layer_that_an_audit_would_explain(self):
        layers = list_layers("torchvision:resnet18")
        assert [layer.name for layer in layers if layer.default] == ["layer4"]
        assert load("torchvision:resnet18").layer == "layer4"

    def test_gives_shapes_as_a_forward_pass_does(self):
        found = {layer.name: layer.shape for layer in list_layers("torchvision:resnet18")}
        assert [found[f"layer{number}"] for number in (1, 2, 3, 4)] == [
            (64, 56, 56),
            (128, 28, 28),
            (256, 14, 14),
            (512, 7, 7),
        ]
        assert "avgpool" not in found
        assert "fc" not in found

    def test_takes_another_input_size(self):
        found = {layer.name: layer.shape for layer in list_layers("torchvision:resnet18", 96)}
        assert found["layer4"] == (512, 3, 3)

    @pytest.mark.usefixtures("my_models")
    def test_marks_the_layer_that_a_factory_names(self):
        assert [layer.name for layer in list_layers("my_models:described") if layer.default] == ["0"]
