"""VGG-16 and ResNet-50 as Caffe's prototxts define them, layer by layer, in plain functions.

An independent truth for the models that TorchRay converted from Caffe. Parameters stand under Caffe's layer names, each
a list of blobs in Caffe's order:

- `Convolution`: weights (out, in, k, k), then the bias unless `bias_term: false`.
- `BatchNorm`: sums of the means and of the variances, and the factor by which both were summed; eps 1e-5.
- `Scale`: factor, bias.

Sources: VGG_ILSVRC_16_layers_deploy.prototxt, https://gist.github.com/ksimonyan/211839e770f7b538e2d8;
ResNet-50-deploy.prototxt, https://github.com/KaimingHe/deep-residual-networks; their last layers replaced by
`fc8-N-conv`, as in the fine-tuned models of https://github.com/jimmie33/Caffe-ExcitationBP.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Blobs = dict[str, list[Tensor]]

VGG_STAGES = ((1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512))
RESNET_STAGES = ((2, "abc", 64), (3, "abcd", 128), (4, "abcdef", 256), (5, "abc", 512))


def caffe_input(pixels: Tensor) -> Tensor:
    """(3, H, W) in 0..255, red, green, blue -> (1, 3, H, W): blue, green, red, each less its mean over ILSVRC's."""
    red, green, blue = pixels.float()
    return torch.stack([blue - 103.939, green - 116.779, red - 123.68])[None]


def pooled(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Caffe's `Pooling`, `MAX`, `pad: 0`: ceil((side - kernel) / stride) + 1, windows cut off at the border."""
    sides = [math.ceil((side - kernel) / stride) * stride + kernel for side in x.shape[2:]]
    padded = F.pad(x, (0, sides[1] - x.shape[3], 0, sides[0] - x.shape[2]), value=-math.inf)
    return F.max_pool2d(padded, kernel, stride)


def vgg16(blobs: Blobs, x: Tensor) -> Tensor:
    """(1, 3, H, W) -> the blob `fc8-N-conv`, (1, N, h, w); 1 x 1 where pool5 is 7 x 7."""
    for stage, convolutions, _ in VGG_STAGES:
        for number in range(1, convolutions + 1):
            x = F.conv2d(x, *blobs[f"conv{stage}_{number}"], stride=1, padding=1).clamp(min=0)
        x = pooled(x, kernel=2, stride=2)
    for name in ("fc6-conv", "fc7-conv"):
        x = F.conv2d(x, *blobs[name]).clamp(min=0)
    return F.conv2d(x, *blobs["fc8-N-conv"])


def resnet50(blobs: Blobs, x: Tensor) -> Tensor:
    """(1, 3, H, W) -> the blob `fc8-N-conv`, (1, N, h, w); 1 x 1 where res5c is 7 x 7."""

    def convolution(name: str, x: Tensor, stride: int = 1, pad: int = 0) -> Tensor:
        return F.conv2d(x, *blobs[name], stride=stride, padding=pad)

    def norm(suffix: str, x: Tensor) -> Tensor:
        mean_sum, variance_sum, factor = blobs[f"bn{suffix}"]
        factor_, offset = blobs[f"scale{suffix}"]
        mean, deviation = mean_sum / factor, (variance_sum / factor + 1e-5).sqrt()
        normalised = (x - mean[:, None, None]) / deviation[:, None, None]
        return normalised * factor_[:, None, None] + offset[:, None, None]

    x = norm("_conv1", convolution("conv1", x, stride=2, pad=3)).clamp(min=0)
    x = pooled(x, kernel=3, stride=2)
    for stage, letters, _ in RESNET_STAGES:
        for letter in letters:
            block, stride = f"{stage}{letter}", 2 if letter == "a" and stage > 2 else 1
            y = norm(f"{block}_branch2a", convolution(f"res{block}_branch2a", x, stride)).clamp(min=0)
            y = norm(f"{block}_branch2b", convolution(f"res{block}_branch2b", y, pad=1)).clamp(min=0)
            y = norm(f"{block}_branch2c", convolution(f"res{block}_branch2c", y))
            if letter == "a":
                x = norm(f"{block}_branch1", convolution(f"res{block}_branch1", x, stride))
            x = (x + y).clamp(min=0)
    return convolution("fc8-N-conv", F.avg_pool2d(x, kernel_size=7, stride=1))


def random_vgg16(classes: int, seed: int = 0) -> Blobs:
    """Parameters of VGG-16; rows of the fully connected layers overlap in storage, which a file of them keeps small."""
    draw, blobs, channels = _drawing(seed), {}, 3
    for stage, convolutions, out in VGG_STAGES:
        for number in range(1, convolutions + 1):
            blobs[f"conv{stage}_{number}"] = [_weights(draw, out, channels, 3), draw(out)]
            channels = out
    for name, out, fan_in, kernel in (("fc6", 4096, 512, 7), ("fc7", 4096, 4096, 1), ("fc8-N", classes, 4096, 1)):
        size, step = fan_in * kernel**2, 3
        numbers = draw(size + step * out) * math.sqrt(2 / size)
        weights = numbers.as_strided((out, fan_in, kernel, kernel), (step, kernel**2, kernel, 1))
        blobs[f"{name}-conv"] = [weights, draw(out)]
    return blobs


def random_resnet50(classes: int, seed: int = 0) -> Blobs:
    """Parameters of ResNet-50, with variances from 1e-4 to 1, as trained ones have."""
    draw, blobs = _drawing(seed), {}

    def add(convolution: str, norm: str, out: int, channels: int, kernel: int) -> None:
        blobs[convolution] = [_weights(draw, out, channels, kernel)]
        variance, factor = 10 ** (-4 * torch.sigmoid(draw(out))), torch.tensor(999.98)
        blobs[f"bn{norm}"] = [draw(out) * variance.sqrt() * factor, variance * factor, factor]
        blobs[f"scale{norm}"] = [variance.sqrt() * (1 + 0.2 * draw(out)), 0.5 * draw(out)]

    add("conv1", "_conv1", 64, 3, 7)
    blobs["conv1"].append(30 * draw(64))
    channels = 64
    for stage, letters, width in RESNET_STAGES:
        for letter in letters:
            block = f"{stage}{letter}_branch"
            if letter == "a":
                add(f"res{block}1", f"{block}1", 4 * width, channels, 1)
            add(f"res{block}2a", f"{block}2a", width, channels, 1)
            add(f"res{block}2b", f"{block}2b", width, width, 3)
            add(f"res{block}2c", f"{block}2c", 4 * width, width, 1)
            channels = 4 * width
    blobs["fc8-N-conv"] = [_weights(draw, classes, channels, 1), draw(classes)]
    return blobs


def _drawing(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _weights(draw: Callable[..., Tensor], out: int, channels: int, kernel: int) -> Tensor:
    return draw(out, channels, kernel, kernel) * math.sqrt(2 / (channels * kernel**2))
