"""How much of the image does the map name?"""

import torch
from torch import Tensor


def sparsity(maps: Tensor) -> Tensor:
    """The Gini index of the map's pixels: 0 where all are alike, towards 1 where few hold everything.

    Hurley and Rickard, "Comparing Measures of Sparsity", IEEE Trans. Inf. Theory 2009, table 1; as a measure of
    explanations: Chalasani et al., ICML 2020.

    Args:
        maps: (n, H, W) non-negative.

    Returns:
        (n,) float32 in [0, 1); NaN for a map that is zero everywhere.
    """
    ascending = maps.flatten(1).double().sort(1).values
    count = ascending.shape[1]
    ranks = torch.arange(1, count + 1, device=maps.device, dtype=torch.float64)
    total = ascending.sum(1)
    gini = 1 - 2 * ((ascending / total.unsqueeze(1)) * (count - ranks + 0.5) / count).sum(1)
    return torch.where(total > 0, gini, torch.nan).float()
