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
    activations: Tensor | None

    def points(self, places: np.ndarray) -> Tensor:
        """(t·B, 3, H, W), place by place, in the images' own memory format."""
        points = [torch.lerp(self.start, self.images, place) for place in places.tolist()]
        return torch.cat(points) if len(points) > 1 else points[0]

    def of(self, rows: Tensor) -> "Path":
        """The path of some of the images."""
        shared = len(self.start) == 1
        activations = self.activations if shared or self.activations is None else self.activations[rows]
        return Path(self.images[rows], self.start if shared else self.start[rows], activations)


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
            for place, values in zip(some, slices[name], strict=True):
                totals[name].add_(values, alpha=rule.weight_at(place))  # a number, not a copy that a GPU would wait for
    return {
        name: Integral(total, torch.full(total.shape[:2], len(rules[name].nodes), device=total.device))
        for name, total in totals.items()
    }


def integrate_to(
    adaptive: Adaptive, at_input: Slices, zero_at_baseline: set[MethodName], slices_at: SlicesAt
) -> dict[MethodName, Integral]:
    """Each method's integral, refined image by image until its estimate of the relative error is within the tolerance.

    The estimate is the larger of the last two changes from one rule to the next: one agreement may be chance. A map is
    frozen at the first rule that satisfies it, whatever its neighbours, other targets or methods still need; what is
    known of an image is let go once all of its maps are.

    Args:
        adaptive: the rules and the tolerance.
        at_input: the integrands at α = 1, which the prediction's own pass gave.
        zero_at_baseline: the methods whose integrand is 0 at α = 0.
        slices_at: evaluates the rest.
    """
    refined = {name: _Refined(slices, name in zero_at_baseline) for name, slices in at_input.items()}
    open_rows = torch.arange(len(next(iter(at_input.values()))))
    for level in adaptive.levels:
        rule = clenshaw_curtis(level)
        places = np.array([place for place in rule.nodes if any(place not in each.known for each in refined.values())])
        for some, slices in slices_at(places, open_rows):
            for name, values in slices.items():
                refined[name].add(some, values)
        still_open = torch.stack([each.refine(rule, open_rows, adaptive.tolerance) for each in refined.values()]).any(0)
        for each in refined.values():
            each.keep(still_open)
        open_rows = open_rows[still_open.cpu()]
        if not len(open_rows):
            break
    return {name: each.integral for name, each in refined.items()}


class _Refined:
    """One method's integral on its way through ever finer rules: results of all images, values of those still open."""

    def __init__(self, at_input: Tensor, zero_at_baseline: bool) -> None:
        shape, device = at_input.shape[:2], at_input.device
        self.integral = Integral(
            torch.zeros_like(at_input),
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.full(shape, torch.inf, device=device),
        )
        self.known: dict[float, Tensor] = {1.0: at_input}
        if zero_at_baseline:
            self.known[0.0] = torch.zeros_like(at_input)
        self._coarser: Tensor | None = None
        self._change = self.integral.error

    def add(self, places: np.ndarray, values: Tensor) -> None:
        """The integrand of the open images at further places: (t, n, K, u, v)."""
        self.known.update(zip(places.tolist(), values, strict=True))

    def refine(self, rule: Quadrature, open_rows: Tensor, tolerance: float) -> Tensor:
        """Apply a rule; which of the open images have a map that is not within the tolerance yet: (n,) bool."""
        nodes, weights = rule.nodes.tolist(), rule.weights.tolist()
        finer = torch.zeros_like(self.known[1.0])
        for place, weight in zip(nodes, weights, strict=True):
            finer.add_(self.known[place], alpha=weight)
        maps, counts, errors = self.integral.maps, self.integral.nodes, self.integral.error
        assert errors is not None
        assert self._change is not None
        error = torch.full_like(self._change, torch.inf)
        if self._coarser is not None:
            moved, size = (finer - self._coarser).flatten(2).norm(dim=2), finer.flatten(2).norm(dim=2)
            change = torch.where(moved == 0, 0.0, moved / size)
            error, self._change = torch.maximum(change, self._change), change
        self._coarser = finer
        better = errors[open_rows] > tolerance
        maps[open_rows] = torch.where(better[..., None, None], finer, maps[open_rows])
        counts[open_rows] = torch.where(better, len(nodes), counts[open_rows])
        errors[open_rows] = torch.where(better, error, errors[open_rows])
        return (errors[open_rows] > tolerance).any(1)  # a map of NaN is never better

    def keep(self, rows: Tensor) -> None:
        """Let go of all but some of the open images."""
        if rows.all():
            return
        self.known = {place: values[rows] for place, values in self.known.items()}
        if self._coarser is not None and self._change is not None:
            self._coarser, self._change = self._coarser[rows], self._change[rows]


def _distinct(places: np.ndarray) -> np.ndarray:
    """Ascending, each once, those that differ by rounding being one."""
    return np.unique(np.round(places, 12))
