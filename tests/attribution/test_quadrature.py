"""Rules integrate exactly what they are known to."""

import numpy as np
import pytest

from igcam_batch.attribution.quadrature import RULES, gauss_lobatto, riemann

EXACT_DEGREE = {
    "riemann": lambda m: 0,
    "trapezoid": lambda m: 1,
    "gauss-legendre": lambda m: 2 * m - 1,
    "gauss-lobatto": lambda m: 2 * m - 3,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 5, 10])
def test_polynomials_up_to_its_degree_are_exact_and_the_next_is_not(rule: str, steps: int) -> None:
    quadrature = RULES[rule](steps)
    degree = EXACT_DEGREE[rule](steps)
    for power in range(degree + 1):
        assert quadrature.weights @ quadrature.nodes**power == pytest.approx(1 / (power + 1), abs=1e-12)
    shifted = np.polynomial.Legendre.basis(degree + 1, domain=[0, 1])  # whose error is not lost in rounding
    error = quadrature.weights @ shifted(quadrature.nodes) - shifted.integ()(1) + shifted.integ()(0)
    assert abs(error) > 1e-3


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 7, 50, 200, 1000])
def test_nodes_ascend_within_the_path_and_weights_share_out_one(rule: str, steps: int) -> None:
    quadrature = RULES[rule](steps)
    assert len(quadrature.nodes) == len(quadrature.weights) == steps
    assert (np.diff(quadrature.nodes) > 0).all()
    assert quadrature.nodes[0] >= 0
    assert quadrature.nodes[-1] <= 1
    assert (quadrature.weights > 0).all()
    assert quadrature.weights.sum() == pytest.approx(1, abs=1e-9)
    assert quadrature.weights @ np.exp(quadrature.nodes) == pytest.approx(np.e - 1, abs=2 / steps)


def test_the_paper_s_rule_takes_the_right_end_of_every_step() -> None:
    np.testing.assert_allclose(riemann(4).nodes, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(riemann(4).weights, 0.25)


@pytest.mark.parametrize(
    ("steps", "nodes", "weights"),  # Abramowitz & Stegun, table 25.6, on [-1, 1]
    [
        (3, [-1, 0, 1], [1 / 3, 4 / 3, 1 / 3]),
        (4, [-1, -0.44721360, 0.44721360, 1], [1 / 6, 5 / 6, 5 / 6, 1 / 6]),
        (5, [-1, -0.65465367, 0, 0.65465367, 1], [0.1, 0.54444444, 0.71111111, 0.54444444, 0.1]),
    ],
)
def test_lobatto_s_nodes_are_the_tabulated_ones(steps: int, nodes: list[float], weights: list[float]) -> None:
    found = gauss_lobatto(steps)
    np.testing.assert_allclose(found.nodes, (np.array(nodes) + 1) / 2, atol=1e-8)
    np.testing.assert_allclose(found.weights, np.array(weights) / 2, atol=1e-8)
    assert found.nodes[0] == 0
    assert found.nodes[-1] == 1
