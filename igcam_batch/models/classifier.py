"""A network together with what it expects and what its outputs mean."""

from dataclasses import dataclass, field

from torch import nn

from igcam_batch.images import Recipe
from igcam_batch.names import ConfidenceName


@dataclass(frozen=True)
class Classifier:
    """What a `package.module:factory` may give instead of a bare module, to say how images reach it.

    Attributes:
        module: maps (B, 3, H, W) to logits (B, C).
        recipe: how an image becomes its input.
        class_names: what the C outputs are called, or None where that is not known.
        class_ids: further identifiers of the classes, as WordNet ids, that a dataset may use for them; or None.
        confidence: how its logits become confidences; `sigmoid` for a multi-label head.
        default_layer: what is explained when no layer is named; None: the last feature map.
    """

    module: nn.Module
    recipe: Recipe = field(default_factory=Recipe)
    class_names: tuple[str, ...] | None = None
    class_ids: tuple[str, ...] | None = None
    confidence: ConfidenceName = "softmax"
    default_layer: str | None = None
