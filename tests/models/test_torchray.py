"""`--model torchray:NAME`: checkpoints in the form that TorchRay published, against Caffe's own definition."""

from pathlib import Path

import caffe_reference as caffe
import numpy as np
import pytest
import skimage.data
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchray_checkpoints import published_resnet50, published_vgg16, write_as_python2

from igcam_batch.config import load_config
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, list_layers, load_model
from igcam_batch.models.load import build_classifier
from igcam_batch.worker.preprocess import Preprocess

NAMES = ("vgg16_voc", "vgg16_coco", "resnet50_voc", "resnet50_coco")


def load(name: str, weights: str, **settings: object) -> LoadedModel:
    config = {"input": "a", "output": "b", "model": f"torchray:{name}", "weights": weights} | settings
    return load_model(load_config(config))


def agree(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    blobs, path = caffe.random_vgg16(20), tmp_path_factory.mktemp("vgg16") / "a.pth.tar"
    yield load("vgg16_voc", write_as_python2(published_vgg16(blobs), path)), blobs
    path.unlink()


@pytest.fixture(scope="module", params=["resnet50_voc", "resnet50_coco"])
def resnet50(request, tmp_path_factory):
    blobs = caffe.random_resnet50(20 if request.param == "resnet50_voc" else 80)
    path = tmp_path_factory.mktemp("resnet50") / "a.pth.tar"
    yield load(request.param, write_as_python2(published_resnet50(blobs), path)), blobs
    path.unlink()


class TestAgainstCaffe:
    """193 and 195 are the smallest sides at which Caffe's last map is 7 x 7; rounding down would make it 6 x 6."""

    @pytest.mark.parametrize("side", [193, 224])
    def test_vgg16_gives_caffes_scores(self, vgg16, side):
        model, blobs = vgg16
        images = 60 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
        expected = caffe.vgg16(blobs, images)
        assert expected.shape[2:] == (1, 1)
        agree(model.module(images), expected[:, :, 0, 0])

    @pytest.mark.parametrize("side", [195, 224])
    def test_resnet50_gives_caffes_scores(self, resnet50, side):
        model, blobs = resnet50
        images = 60 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
        expected = caffe.resnet50(blobs, images)
        assert expected.shape[2:] == (1, 1)
        agree(model.module(images), expected[:, :, 0, 0])

    def test_a_photograph_reaches_the_scores_as_in_caffe(self, resnet50, photograph):
        model, blobs = resnet50
        stretched = np.asarray(photograph.resize((224, 224), Image.Resampling.BILINEAR))
        expected = caffe.resnet50(blobs, caffe.caffe_input(torch.tensor(stretched).permute(2, 0, 1)))
        images = Preprocess(model.recipe, torch.device("cpu"))(model.recipe.pixels(photograph)[None])
        agree(model.module(images), expected[:, :, 0, 0])


class TestWhatIsLoaded:
    def test_the_classes_have_the_datasets_names_in_its_order(self, resnet50):
        classes = resnet50[0].classes
        if classes.count == 20:
            expected = {0: "aeroplane", 6: "car", 13: "motorbike", 14: "person", 19: "tvmonitor"}
        else:
            expected = {0: "person", 2: "car", 3: "motorcycle", 4: "airplane", 11: "stop sign", 79: "toothbrush"}
        assert {index: classes.name(index) for index in expected} == expected

    def test_either_dataset_may_call_them_as_it_does(self, resnet50):
        classes = resnet50[0].classes
        for voc, coco in (("motorbike", "motorcycle"), ("tvmonitor", "tv"), ("diningtable", "dining table")):
            assert classes.index(voc) == classes.index(coco) is not None

    def test_the_layer_is_the_papers(self, vgg16, resnet50):
        assert (vgg16[0].layer, vgg16[0].map_shape) == ("features.29", (14, 14))
        assert (resnet50[0].layer, resnet50[0].map_shape) == ("layer4", (7, 7))

    def test_images_are_stretched_to_224_in_caffes_order_and_range(self, photograph):
        recipe = build_classifier("torchray:resnet50_voc", "none").recipe
        assert (recipe.size, recipe.resize, recipe.resize_size) == (224, "stretch", 224)
        assert recipe.colour(0, 0, 0) == pytest.approx((-103.939, -116.779, -123.68))
        assert recipe.colour(1, 0, 0) == pytest.approx((-103.939, -116.779, 255 - 123.68))

    def test_the_checkpoint_of_a_parallel_model_loads_too(self, tmp_path, resnet50):
        model, blobs = resnet50
        tensors = {f"module.{name}": tensor for name, tensor in published_resnet50(blobs).items()}
        torch.save({"state_dict": tensors}, tmp_path / "a.pth")
        name = "resnet50_voc" if model.classes.count == 20 else "resnet50_coco"
        assert load(name, str(tmp_path / "a.pth")).sha256 == model.sha256


class TestWithoutACheckpoint:
    @pytest.mark.parametrize("name", NAMES)
    def test_default_weights_are_refused_with_where_they_are(self, name):
        with pytest.raises(InputError) as caught:
            build_classifier(f"torchray:{name}", "DEFAULT")
        message = str(caught.value)
        assert message.startswith(f"--model torchray:{name} --weights DEFAULT: ")
        assert f"https://dl.fbaipublicfiles.com/torchray/{name}-" in message
        assert "--weights PATH" in message

    def test_random_weights_are_the_same_each_time(self):
        one, another = (load("resnet50_voc", "none", input_size=64).sha256 for _ in range(2))
        assert one == another

    def test_the_layers_are_listed_with_the_papers_marked(self):
        assert [layer.name for layer in list_layers("torchray:resnet50_coco", 64) if layer.default] == ["layer4"]

    def test_another_name_is_refused_with_those_that_there_are(self):
        with pytest.raises(InputError, match=r"TorchRay has no such model; it has 4, closest: .*resnet50_voc"):
            build_classifier("torchray:resnet50", "none")


@pytest.fixture(scope="module")
def tensors():
    return published_resnet50(caffe.random_resnet50(20))


class TestAnotherCheckpoint:
    def refusal(self, tensors: dict[str, Tensor], path: Path) -> str:
        torch.save(tensors, path)
        with pytest.raises(InputError) as caught:
            load("resnet50_voc", str(path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_one_without_some_tensors_is_refused_and_they_are_named(self, tensors, tmp_path):
        rest = {name: tensor for name, tensor in tensors.items() if name not in ("conv1.bias", "layer1.0.bn1.1.weight")}
        message = self.refusal(rest, tmp_path / "a.pth")
        assert "a.pth: do not fit torchray:resnet50_voc: 2 missing (conv1.bias, layer1.0.bn1.weight)" in message

    def test_one_of_another_network_is_refused(self, tmp_path):
        tensors = {"features.0.weight": torch.zeros(64, 3, 3, 3), "classifier.4.bias": torch.zeros(20)}
        assert "do not fit torchray:resnet50_voc" in self.refusal(tensors, tmp_path / "a.pth")

    def test_one_of_the_other_dataset_is_refused_with_the_model_for_it(self, tensors, tmp_path):
        of_coco = tensors | {"fc.weight": torch.zeros(80, 2048), "fc.bias": torch.zeros(80)}
        message = self.refusal(of_coco, tmp_path / "a.pth")
        assert (
            "has 20 classes, the checkpoint 80; torchray:vgg16_coco and torchray:resnet50_coco have as many" in message
        )
        of_five = tensors | {"fc.weight": torch.zeros(5, 2048), "fc.bias": torch.zeros(5)}
        assert "the checkpoint 5; TorchRay published none with as many" in self.refusal(of_five, tmp_path / "a.pth")

    @pytest.mark.parametrize("network", ["vgg16", "resnet50"])
    def test_one_saved_from_a_loaded_model_is_refused_as_its_channels_may_be_in_another_order(self, network, tmp_path):
        with torch.device("meta"):
            names = getattr(torchvision.models, network)().state_dict()
        torch.save({name: torch.zeros(1) for name in names}, tmp_path / "a.pth")
        with pytest.raises(
            InputError, match=rf"as a loaded {network} does, .*its channels in another order.*published"
        ):
            load(f"{network}_voc", str(tmp_path / "a.pth"))
