"""Does the map lie on the object? Maps and masks are at the image's resolution.

EBPG: Wang et al., "Score-CAM", CVPRW 2020, sec. 4.2. Bbox: Schulz et al., "Restricting the Flow", ICLR 2020, sec. 4.4.
Pointing game: Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018, sec. 4.1; with the tolerance
of its benchmark in TorchRay.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def ebpg(maps: Tensor, masks: Tensor) -> Tensor:
    """Energy-based pointing game: the share of the map's energy that lies in the object, Σ_G S / Σ S, in [0, 1].

    Args:
        maps: (..., H, W) non-negative S.
        masks: (..., H, W) bool, G.

    Returns:
        (...) float32; NaN where the map is zero everywhere or the mask is empty.
    """
    maps = maps.double()
    inside = (maps * masks).sum((-2, -1))
    share = inside / maps.sum((-2, -1))
    return torch.where(masks.any(-1).any(-1), share, torch.nan).float()


def bbox(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of the |G| highest pixels of S that lie in G, in [0, 1].

    Pixels that tie with the |G|-th highest share the places that are left equally, so the value depends on no order of
    pixels: a constant map scores |G| / HW, which is chance.

    Args:
        maps: (..., H, W) non-negative S.
        masks: (..., H, W) bool, G.

    Returns:
        (...) float32; NaN where the map is zero everywhere or the mask is empty.
    """
    flat_maps, flat_masks = maps.flatten(-2), masks.flatten(-2)
    exists = flat_masks.any(-1) & flat_maps.any(-1)
    share = torch.full(exists.shape, torch.nan, dtype=torch.float32, device=maps.device)
    share[exists] = _share_of_highest(flat_maps[exists], flat_masks[exists])  # of those alone: sorting takes its time
    return share


def _share_of_highest(maps: Tensor, masks: Tensor) -> Tensor:
    """`bbox` of (n, HW) maps that are not zero everywhere and masks that are not empty."""
    area = masks.sum(-1, keepdim=True)
    threshold = maps.sort(-1, descending=True).values.gather(-1, area - 1)
    above, level = maps > threshold, maps == threshold
    places = (area - above.sum(-1, keepdim=True)) / level.sum(-1, keepdim=True)
    hits = ((above + level * places) * masks).sum(-1)
    return (hits / area.squeeze(-1)).float()


def pointing_game(maps: Tensor, masks: Tensor, tolerance: int) -> Tensor:
    """Whether the highest pixel of the map lies on the object, or nearer to it than `tolerance` pixels: 1 or 0.

    Of several highest pixels, the share that hits, so that the value depends on no order of pixels.

    Args:
        maps: (n, H, W) non-negative S.
        masks: (n, H, W) bool, G.
        tolerance: radius of the circle round the pixel in which some of the object must lie, its rim left out as in
            TorchRay; 0: the pixel itself.

    Returns:
        (n,) float32, in [0, 1]; NaN where the map is zero everywhere or the mask is empty.
    """
    highest = maps == maps.amax((-2, -1), keepdim=True)
    hits = highest & _grown(masks, tolerance)
    share = hits.sum((-2, -1)) / highest.sum((-2, -1))
    exists = masks.flatten(1).any(1) & maps.flatten(1).any(1)
    return torch.where(exists, share, torch.nan).float()


def _grown(masks: Tensor, radius: int) -> Tensor:
    """The pixels nearer than `radius` to a mask: (n, H, W) bool -> (n, H, W) bool, row offset by row offset."""
    height, width = masks.shape[-2:]
    most = max(radius**2 - 1, 0)  # of a squared distance
    grown = torch.zeros_like(masks)
    rows = min(math.isqrt(most), height - 1)
    for down in range(-rows, rows + 1):
        reach = min(math.isqrt(most - down**2), width - 1)
        wide = F.max_pool2d(masks.float(), (1, 2 * reach + 1), 1, (0, reach)).bool()
        to, of = slice(max(down, 0), height + min(down, 0)), slice(max(-down, 0), height - max(down, 0))
        grown[:, to] |= wide[:, of]
    return grown


def box_mask(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Tensor:
    """The union of boxes (left, top, right, bottom), continuous pixel coordinates, as a (H, W) bool mask.

    A pixel belongs to a box when its centre does.
    """
    mask = torch.zeros(size, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        rows = slice(_first_at(top, size[0]), _first_at(bottom, size[0]))
        mask[rows, _first_at(left, size[1]) : _first_at(right, size[1])] = True
    return mask


def _first_at(place: float, count: int) -> int:
    """The first of so many pixels in a row whose centre does not lie before a place; `count` where none is."""
    return math.ceil(min(max(place, 0.0), float(count)) - 0.5)
