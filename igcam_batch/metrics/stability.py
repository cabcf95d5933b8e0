"""Does the map stay with the image when the image moves a little?

Maximum sensitivity: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, def. 2, where what
changes the input is a shift by a few pixels. A shift moves what is explained, so the map is shifted back before it is
compared; a network that is equivariant to shifts has 0.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Shift = tuple[int, int]  # pixels to the right, and down


def shifts(pixels: int) -> tuple[Shift, ...]:
    """Right, left, down and up."""
    return (pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)


def shifted(images: Tensor, by: Shift) -> Tensor:
    """Images (n, 3, H, W) moved; the border that comes in repeats the edge."""
    right, down = by
    padding = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    padded = F.pad(images, padding, mode="replicate")
    height, width = images.shape[-2:]
    return padded[..., max(-down, 0) :, max(-right, 0) :][..., :height, :width].contiguous()


def sensitivity(maps: Tensor, of_shifted: Mapping[Shift, Tensor]) -> Tensor:
    """The largest ‖shifted back - S‖₂ / ‖S‖₂ over the shifts, on the pixels that both maps have.

    Args:
        maps: (n, H, W) non-negative S.
        of_shifted: the maps (n, H, W) of the shifted images, by their shifts.

    Returns:
        (n,) float32, from 0; NaN for a map that is zero wherever it is compared.
    """
    changes = torch.stack([_change(maps, found, by) for by, found in of_shifted.items()])
    return torch.where(changes.isnan().all(0), torch.nan, changes.nan_to_num(0).amax(0))


def _change(maps: Tensor, found: Tensor, by: Shift) -> Tensor:
    right, down = by
    height, width = maps.shape[-2:]
    here = maps[:, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)]
    there = found[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    size = here.flatten(1).norm(dim=1)
    return torch.where(size > 0, (there - here).flatten(1).norm(dim=1) / size, torch.nan).float()
