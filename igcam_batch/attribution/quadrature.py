"""Quadrature rules on [0, 1]: where along the path the network is evaluated, and how much each place counts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre

from igcam_batch.names import RuleName

_DECIMALS = 12  # nodes this close are one place


@dataclass(frozen=True)
class Quadrature:
    """∫₀¹ f(α) dα ≈ Σ_t weights[t] · f(nodes[t]).

    Attributes:
        nodes: (m,) places in [0, 1], ascending, float64.
        weights: (m,) their weights, summing to 1, float64.
    """

    nodes: np.ndarray
    weights: np.ndarray

    def mirrored(self) -> "Quadrature":
        """The rule seen from the path's other end: a right sum becomes the left one, a symmetric rule stays."""
        return Quadrature(np.round(1 - self.nodes[::-1], _DECIMALS), self.weights[::-1].copy())

    def weight_at(self, place: float) -> float:
        """The weight of a place; 0 where it is no node."""
        return float(self.weights[np.isclose(self.nodes, place, rtol=0, atol=10.0**-_DECIMALS)].sum())


def riemann(steps: int) -> Quadrature:
    """Right Riemann sum, α = t/m for t = 1..m: the paper's rule (eq. 6). Error O(1/m)."""
    return Quadrature(np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps))


def trapezoid(steps: int) -> Quadrature:
    """Composite trapezoid with `steps` nodes, both ends included. Error O(1/m²)."""
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return Quadrature(np.linspace(0, 1, steps), weights)


def gauss_legendre(steps: int) -> Quadrature:
    """Gauss-Legendre: exact for polynomials of degree 2m - 1; neither end is a node."""
    nodes, weights = legendre.leggauss(steps)
    return Quadrature((nodes + 1) / 2, weights / 2)


def gauss_lobatto(steps: int) -> Quadrature:
    """Gauss-Lobatto: exact for polynomials of degree 2m - 3, both ends being nodes.

    The inner nodes are the roots of P'_{m-1}; the weights 2 / (m (m - 1) P_{m-1}(x)²) (Abramowitz & Stegun 25.4.32).
    The node at α = 1 is the prediction's own forward pass, and at α = 0 an attribution relative to the baseline is 0.
    """
    polynomial = np.zeros(steps)
    polynomial[-1] = 1.0
    nodes = np.concatenate(([-1.0], np.sort(legendre.legroots(legendre.legder(polynomial))), [1.0]))
    weights = 2 / (steps * (steps - 1) * legendre.legval(nodes, polynomial) ** 2)
    return Quadrature((nodes + 1) / 2, weights / 2)


@cache
def clenshaw_curtis(steps: int) -> Quadrature:
    """Clenshaw-Curtis with an odd number of nodes at (1 - cos(πt/n)) / 2, t = 0..n: n = `steps` - 1.

    Exact for polynomials of degree m - 1. The rule with twice the intervals has all its nodes, so an estimate is
    refined without evaluating any place again. Weights by the explicit cosine sum (Waldvogel, BIT 2006, eq. 2.4).
    """
    intervals = steps - 1
    angles = np.arange(steps) * np.pi / intervals
    orders = np.arange(1, intervals // 2 + 1)
    shares = np.where(2 * orders == intervals, 1.0, 2.0) / (4.0 * orders**2 - 1)
    weights = (1 - np.cos(2 * np.outer(angles, orders)) @ shares) * 2 / intervals
    weights[[0, -1]] /= 2
    return Quadrature(np.round((1 - np.cos(angles)) / 2, _DECIMALS), weights / 2)


RULES: dict[RuleName, Callable[[int], Quadrature]] = {
    "riemann": riemann,
    "trapezoid": trapezoid,
    "gauss-legendre": gauss_legendre,
    "gauss-lobatto": gauss_lobatto,
}
FEWEST_NODES: dict[RuleName, int] = {"riemann": 1, "trapezoid": 2, "gauss-legendre": 1, "gauss-lobatto": 2}


@dataclass(frozen=True)
class Adaptive:
    """Clenshaw-Curtis rules of 3, 5, 9 ... nodes, each with all nodes of the one before, until three in a row agree.

    The error estimate of a map is the larger of the last two changes, ‖finer - coarser‖₂ / ‖finer‖₂. Where the
    integrand is smooth that is the coarser rules' error, and a cautious one of the finest, whose map is kept; where it
    is rough, as an untrained network's may be, rules can agree by chance and be wrong together.

    Attributes:
        tolerance: the estimate at which a map is left alone.
        levels: the numbers of nodes, ascending; the last is kept whatever its estimate.
    """

    tolerance: float
    levels: tuple[int, ...] = (3, 5, 9, 17, 33, 65, 129)
