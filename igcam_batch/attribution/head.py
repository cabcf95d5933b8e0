"""Heads whose gradient is known without a backward pass: mean pooling over positions, then one linear layer.

Most CNNs since Network in Network end so. Whether one does is read off the autograd graph between the layer and the
logits, whatever modules or functions drew it, and then checked against a gradient that autograd computed.
"""

import torch
from torch import Tensor
from torch.autograd.graph import Node

NO_CAM = (
    "--method cam: is defined for a head of mean pooling and one linear layer, and something else follows the layer; "
    "grad-cam generalises it to any head"
)
_LINEAR = ("AddmmBackward0", "MmBackward0")
_MEAN = "MeanBackward1"
_SHAPES_ONLY = (
    "CloneBackward0",
    "ViewBackward0",
    "ReshapeAliasBackward0",
    "UnsafeViewBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "SqueezeBackward2",
    "ToCopyBackward0",
    "AsStridedBackward0",  # pooling in channels_last; anything else it may do, the check below sees
    "AsStridedBackward1",
)
_AGREEMENT, _AGREEMENT_OF_HALVES = 1e-3, 2e-2  # relative; TF32 rounds to ten bits, half precision each gradient, too


def pooled_linear_weights(activations: Tensor, logits: Tensor) -> Tensor | None:
    """W (C, N) float32 where the logits are W · mean_ij(A) + b, else None.

    Then ∂y_c/∂A_k = W_ck / (uv) at every position, whatever the activations.

    Args:
        activations: (B, N, u, v), in the autograd graph.
        logits: (B, C), a function of them, whose graph is still there.
    """
    matrix = _matrix_after_pooling(activations, logits)
    if matrix is None or matrix.shape != (activations.shape[1], logits.shape[1]):
        return None
    weights = matrix.detach().T.float().contiguous()
    signs = torch.arange(logits.shape[1], device=logits.device) % 3 - 1.0  # some direction that tells classes apart
    found = torch.autograd.grad(logits, activations, signs.to(logits).expand_as(logits), retain_graph=True)[0].float()
    expected = (signs @ weights / activations[0, 0].numel())[:, None, None].expand_as(found)
    agreement = _AGREEMENT if matrix.dtype in (torch.float32, torch.float64) else _AGREEMENT_OF_HALVES
    return weights if (found - expected).norm() <= agreement * expected.norm() else None


def _matrix_after_pooling(activations: Tensor, logits: Tensor) -> Tensor | None:
    """(N, C), of the one matrix product between pooling and logits; None where anything else happens on the way."""
    node, matrix, pooled = logits.grad_fn, None, False
    while node is not None and not _is_origin(node, activations):
        name = node.name()
        if name in _LINEAR and matrix is None and not pooled:
            matrix = getattr(node, "_saved_mat2", None)
            if matrix is None:
                return None
        elif name == _MEAN and matrix is not None and not pooled:
            pooled = True
        elif name not in _SHAPES_ONLY:
            return None
        ways = [following for following, _ in node.next_functions if following is not None]
        node = ways[0] if len(ways) == 1 else None
    return matrix if node is not None and pooled else None


def _is_origin(node: Node, activations: Tensor) -> bool:
    return node is activations.grad_fn or getattr(node, "variable", None) is activations
