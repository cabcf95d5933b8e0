"""Integrals along straight lines from a baseline to an image, at a fixed rule or to a tolerance."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from igcam_batch.attribution.quadrature import Adaptive, Quadrature, clenshaw_curtis
from igcam_batch.names import MethodName

Slices = dict[MethodName, Tensor]  # each method's integrand, (B, K, u, v) at one place, (t, B, K, u, v) at several
SlicesAt = Callable[[np.ndarray, Tensor], Iterator[tuple[np.ndarray, Slices]]]
"""Places and rows (images) -> the integrands there, as many places at once as a pass holds."""


@dataclass(frozen=True)
class Path:
    """γ(α) = x' + α (x - x') for a batch of images.

    Attributes:
        images: (B, 3, H, W), x.
        start: (1, 3, H, W) or (B, 3, H, W), x'.
        activations: (1, N, u, v) or (B, N, u, v) float32, at the start; None where no method takes them.
    """

    images: Tensor
    start: Tensor
    activations: Tensor

    def points(self, places: np.ndarray) -> Tensor:
        """(t·B, 3, H, W), place by place, in the images' own memory format."""
        points = [torch.lerp(self.start, self.images, place) for place in places.tolist()]
        return torch.cat(points) if len(points) > 1 else points[0]

    def of(self, rows: Tensor) -> "Path":
        """The path of some of the images."""
        shared = len(self.start) == 1
        return Path(
            self.images[rows],
            self.start if shared else self.start[rows],
            self.activations if shared else self.activations[rows],
        )


@dataclass(frozen=True)
class Integral:
    """A method's integral for B images and K targets.

    Attributes:
        maps: (B, K, u, v) float32.
        nodes: (B, K) int64, quadrature nodes behind each.
        error: (B, K) float32, the estimate of its relative error; None for a fixed rule.
    """

    maps: Tensor
    nodes: Tensor
    error: Tensor | None = None


def integrate(
    rules: Mapping[MethodName, Quadrature], at_input: Slices, zero_at_baseline: set[MethodName], slices_at: SlicesAt
) -> dict[MethodName, Integral]:
    """Each method's integrand, summed at its rule's nodes; nodes that methods have in common are evaluated once.

    Args:
        rules: the rule of each method.
        at_input: the integrands at α = 1, which the prediction's own pass gave.
        zero_at_baseline: the methods whose integrand is 0 at α = 0.
        slices_at: evaluates the rest.
    """
    totals = {name: rule.weight_at(1) * at_input[name] for name, rule in rules.items()}
    needed = [rule.nodes[rule.nodes > 0] if name in zero_at_baseline else rule.nodes for name, rule in rules.items()]
    places = _distinct(np.concatenate(needed))
    every = torch.arange(len(next(iter(totals.values()))))
    for some, slices in slices_at(places[places < 1], every):
        for name, rule in rules.items():
            weights = torch.tensor([rule.weight_at(place) for place in some], dtype=torch.float32)
            totals[name] += torch.einsum("t,tbkuv->bkuv", weights.to(totals[name].device), slices[name])
    return {
        name: Integral(total, torch.full(total.shape[:2], len(rules[name].nodes), device=total.device))
        for name, total in totals.items()
    }


def integrate_to(
    adaptive: Adaptive, at_input: Slices, zero_at_baseline: set[MethodName], slices_at: SlicesAt
) -> dict[MethodName, Integral]:
    """Each method's integral, refined image by image until its estimate of the relative error is within the tolerance.

    A map is frozen at the first rule that satisfies it, whatever its neighbours, other targets or methods still need.

    Args:
        adaptive: the rules and the tolerance.
        at_input: the integrands at α = 1, which the prediction's own pass gave.
        zero_at_baseline: the methods whose integrand is 0 at α = 0.
        slices_at: evaluates the rest.
    """
    known = {name: {1.0: slices} for name, slices in at_input.items()}
    for name in zero_at_baseline:
        known[name][0.0] = torch.zeros_like(at_input[name])
    found: dict[MethodName, Integral] = {}
    for level in adaptive.levels:
        rule = clenshaw_curtis(level)
        open_rows = _open_rows(found, adaptive.tolerance, len(next(iter(at_input.values()))))
        if not len(open_rows):
            break
        places = np.array([place for place in rule.nodes if any(place not in slices for slices in known.values())])
        for some, slices in slices_at(places, open_rows):
            for name, values in slices.items():
                for place, value in zip(some.tolist(), values, strict=True):
                    known[name].setdefault(place, torch.zeros_like(at_input[name]))[open_rows] = value
        for name, values_at in known.items():
            stacked = torch.stack([values_at[place] for place in rule.nodes.tolist()])
            finer = torch.einsum("t,tbkuv->bkuv", torch.from_numpy(rule.weights).to(stacked), stacked)
            found[name] = _refined(found.get(name), finer, level, adaptive.tolerance)
    return found


def _refined(coarser: Integral | None, maps: Tensor, nodes: int, tolerance: float) -> Integral:
    """The finer maps where the coarser were not good enough yet, with their estimates."""
    if coarser is None:
        shape = maps.shape[:2]
        return Integral(maps, maps.new_full(shape, nodes, dtype=torch.int64), maps.new_full(shape, torch.inf))
    assert coarser.error is not None
    change, size = (maps - coarser.maps).flatten(2).norm(dim=2), maps.flatten(2).norm(dim=2)
    error = torch.where(change == 0, 0.0, change / size)
    better = coarser.error > tolerance
    return Integral(
        torch.where(better[..., None, None], maps, coarser.maps),
        torch.where(better, nodes, coarser.nodes),
        torch.where(better, error, coarser.error),
    )


def _open_rows(found: Mapping[MethodName, Integral], tolerance: float, count: int) -> Tensor:
    """The images some map of which is not within the tolerance yet; a map of NaN never will be."""
    if not found:
        return torch.arange(count)
    errors = torch.stack([integral.error.amax(1) for integral in found.values() if integral.error is not None])
    return (errors.nan_to_num(nan=0.0, posinf=torch.inf) > tolerance).any(0).nonzero().squeeze(1).cpu()


def _distinct(places: np.ndarray) -> np.ndarray:
    """Ascending, each once, those that differ by rounding being one."""
    return np.unique(np.round(places, 12))
