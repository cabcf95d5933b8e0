"""torchvision's VGG-16 and ResNet-50, changed to what Caffe's prototxts define.

In both, poolings round their output up, as Caffe's do (caffe/src/caffe/layers/pooling_layer.cpp). Both map
(B, 3, H, W) to logits (B, C): TorchRay's `get_model(...)` without `convert_to_fully_convolutional`, which at 224 x 224
gives the same scores in a map of 1 x 1. At other sizes torchvision's adaptive poolings stand before the linear layers;
TorchRay's pointing game has a map of scores there, and pools it in the gradient.
"""

from torch import nn
from torchvision import models


def vgg16(classes: int) -> models.VGG:
    """VGG-16: Simonyan and Zisserman, ICLR 2015, configuration D. `features.29` is relu5_3, before pool5.

    https://gist.github.com/ksimonyan/211839e770f7b538e2d8
    """
    network = models.vgg16(weights=None, num_classes=classes)
    for module in network.features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
    return network


def resnet50(classes: int) -> models.ResNet:
    """ResNet-50: He et al., CVPR 2016. `layer4` is res5c after its ReLU, before pool5.

    Unlike torchvision's, its conv1 has a bias, its pool1 no padding, and the first block of each stage takes its
    stride in the first 1x1 convolution.

    https://github.com/KaimingHe/deep-residual-networks/blob/master/prototxt/ResNet-50-deploy.prototxt
    """
    network = models.resnet50(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=True)
    network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        first = stage[0]
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    return network
