"""Quadrature rules on [0, 1]: where along the path the network is evaluated, and how much each place counts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

from igcam_batch.names import RuleName


@dataclass(frozen=True)
class Quadrature:
    """∫₀¹ f(α) dα ≈ Σ_t weights[t] · f(nodes[t]).

    Attributes:
        nodes: (m,) places in [0, 1], ascending, float64.
        weights: (m,) their weights, summing to 1, float64.
    """

    nodes: np.ndarray
    weights: np.ndarray


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


RULES: dict[RuleName, Callable[[int], Quadrature]] = {
    "riemann": riemann,
    "trapezoid": trapezoid,
    "gauss-legendre": gauss_legendre,
    "gauss-lobatto": gauss_lobatto,
}
