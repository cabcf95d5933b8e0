"""How fast does the confidence fall, or rise, as pixels go or come in the map's order?

Insertion and deletion: Petsiuk et al., "RISE", BMVC 2018, sec. 4.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from igcam_batch.metrics.faithfulness import ConfidenceFunction


@dataclass(frozen=True)
class Curves:
    """What maps are tried on.

    Attributes:
        confidence: scores images for one class each.
        images: (n, 3, H, W), preprocessed.
        classes: (n,) class indices.
        whole: (n,) the confidence in the images as they are.
        steps: how many times pixels go or come, an equal share each.
        batch_size: images in one call of `confidence`, of any rows and steps.
    """

    confidence: ConfidenceFunction
    images: Tensor
    classes: Tensor
    whole: Tensor
    steps: int
    batch_size: int

    def deletion(self, maps: Tensor, fill: Tensor) -> Tensor:
        """Area under the confidence as pixels are hidden, highest first: low for a map that names what counts.

        Args:
            maps: (n, H, W) non-negative. Pixels of the same value go in reading order.
            fill: (n, 3, H, W), what takes the place of a hidden pixel.

        Returns:
            (n,) float32 in [0, 1], by the trapezoid rule over the share of hidden pixels; NaN for a map that is zero
            everywhere.
        """
        curve = self._curve(maps, self.images, fill, range(1, self.steps + 1))
        return _area(torch.cat([self.whole.unsqueeze(1), curve], 1), maps)

    def insertion(self, maps: Tensor, start: Tensor) -> Tensor:
        """Area under the confidence as pixels are put into `start` (n, 3, H, W), highest first: high for such a map.

        Arguments and result are those of `deletion`.
        """
        curve = self._curve(maps, start, self.images, range(self.steps))
        return _area(torch.cat([curve, self.whole.unsqueeze(1)], 1), maps)

    def _curve(self, maps: Tensor, before: Tensor, after: Tensor, counts: range) -> Tensor:
        """(n, t): the confidence with the highest count/steps of the pixels from `after`, the others from `before`."""
        ranks = _ranks(maps)
        pixels = ranks[0].numel()
        rows = torch.arange(len(maps), device=maps.device).repeat_interleave(len(counts))
        taken = torch.tensor(counts, device=maps.device).repeat(len(maps))
        found = []
        for some, of_some in zip(rows.split(self.batch_size), taken.split(self.batch_size), strict=True):
            changed = ranks[some] < (of_some * pixels / self.steps).round().view(-1, 1, 1)
            mixed = torch.where(changed.unsqueeze(1), after[some], before[some])
            found.append(self.confidence(mixed, self.classes[some]))
        return torch.cat(found).view(len(maps), len(counts)).float()


def _ranks(maps: Tensor) -> Tensor:
    """(n, H, W) -> the place of each pixel among its map's, highest 0."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(maps)


def _area(curve: Tensor, maps: Tensor) -> Tensor:
    """The area under curves (n, t + 1) over 0..1."""
    area = torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
    return torch.where(maps.flatten(1).any(1), area, torch.nan)
