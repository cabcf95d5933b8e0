"""Checkpoints in the form of those that TorchRay published, from the blobs of a Caffe model.

They are what torchray/benchmark/models.py of https://github.com/facebookresearch/TorchRay loads. ResNet-50's names, and
how it was saved ("Requires python 2.7 and torch==0.3.1"), are from convert_resnet50_to_pytorch.py of
https://github.com/ruthcfong/pointing_game; VGG-16's from utils.py there.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import torch
from caffe_reference import RESNET_STAGES, Blobs
from torch import Tensor

VGG_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def published_vgg16(blobs: Blobs) -> OrderedDict[str, Tensor]:
    """Layers by torchvision's numbers, but the classifier without dropout; its weights are those of convolutions."""
    names = [f"features.{index}" for index in VGG_INDICES] + [f"classifier.{index}" for index in (0, 2, 4)]
    return OrderedDict(
        (f"{name}.{kind}", blob)
        for name, layer in zip(names, blobs.values(), strict=True)
        for kind, blob in zip(("weight", "bias"), layer, strict=True)
    )


def published_resnet50(blobs: Blobs) -> OrderedDict[str, Tensor]:
    """BatchNorm, its sums divided by their factor, and Scale in sequence, as `bn1.0` and `bn1.1`."""
    tensors: OrderedDict[str, Tensor] = OrderedDict()

    def norm(name: str, suffix: str) -> None:
        mean, variance, factor = blobs[f"bn{suffix}"]
        tensors[f"{name}.0.running_mean"], tensors[f"{name}.0.running_var"] = mean / factor, variance / factor
        tensors[f"{name}.1.weight"], tensors[f"{name}.1.bias"] = blobs[f"scale{suffix}"]

    tensors["conv1.weight"], tensors["conv1.bias"] = blobs["conv1"]
    norm("bn1", "_conv1")
    for stage, letters, _ in RESNET_STAGES:
        for index, letter in enumerate(letters):
            layer, block = f"layer{stage - 1}.{index}", f"{stage}{letter}_branch"
            for number, branch in ((1, "2a"), (2, "2b"), (3, "2c")):
                (tensors[f"{layer}.conv{number}.weight"],) = blobs[f"res{block}{branch}"]
                norm(f"{layer}.bn{number}", block + branch)
            if letter == "a":
                (tensors[f"{layer}.downsample.0.weight"],) = blobs[f"res{block}1"]
                norm(f"{layer}.downsample.1", f"{block}1")
    weight, tensors["fc.bias"] = blobs["fc8-N-conv"]
    tensors["fc.weight"] = weight[:, :, 0, 0]
    return tensors


class _Python2Pickler(pickle._Pickler):  # the one in C has no save_str
    """Strings and ordered dicts as Python 2.7 wrote them, and tensors as PyTorch 0.3 did."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        self.write(pickle.SHORT_BINSTRING + bytes([len(text)]) + text.encode("ascii"))
        self.memoize(text)

    dispatch[str] = save_str

    def reducer_override(self, value: object) -> object:
        if isinstance(value, OrderedDict):
            return OrderedDict, ([[key, each] for key, each in value.items()],)
        if not isinstance(value, Tensor):
            return NotImplemented
        storage = value._typed_storage()
        return torch._utils._rebuild_tensor, (storage, value.storage_offset(), tuple(value.shape), value.stride())


def write_as_python2(tensors: OrderedDict[str, Tensor], path: Path) -> str:
    """`torch.save` of Python 2.7 and PyTorch 0.3: no zip file."""

    def dump(value: object, file: object, protocol: int) -> None:
        _Python2Pickler(file, protocol).dump(value)

    module = SimpleNamespace(__name__="pickle", Pickler=_Python2Pickler, dump=dump)
    torch.save(tensors, path, pickle_module=module, pickle_protocol=2, _use_new_zipfile_serialization=False)
    return str(path)
