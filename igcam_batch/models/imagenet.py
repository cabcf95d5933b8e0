"""The 1000 classes of ImageNet-1k: their WordNet ids, and what people call them."""

from functools import cache

CLASSES = 1000


@cache
def imagenet_names() -> tuple[str, ...]:
    """One short name for each class, by index, as torchvision's weights carry them ('Egyptian cat')."""
    from torchvision.models import ResNet50_Weights  # here, as it takes a second that few need

    return tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


@cache
def imagenet_wordnet_ids() -> tuple[str, ...]:
    """The WordNet id of each class, by index ('n02124075'): how ImageNet's own directories are named."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return tuple(str(info.index_to_label_name(index)) for index in range(CLASSES))
