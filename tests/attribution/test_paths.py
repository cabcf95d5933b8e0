"""Integrals along paths: rules, several baselines, and refinement to a tolerance."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igcam_batch import explain
from igcam_batch.attribution.baselines import blurred
from igcam_batch.attribution.explainer import Explainer, Explanation
from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.network import NO_TARGET
from igcam_batch.attribution.paths import integrate_to
from igcam_batch.attribution.quadrature import Adaptive, clenshaw_curtis
from igcam_batch.names import METHODS, MethodName

PATHS: tuple[MethodName, ...] = ("integrated-grad-cam", "averaged-grad-cam", "integrated-gradients")
IMAGES = 2 * torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(21))
TARGETS = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])


def curved() -> nn.Module:
    """A network whose gradients change along the path, some of them sharply."""
    torch.manual_seed(22)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3), nn.ReLU())
    return nn.Sequential(trunk, nn.Flatten(), nn.Linear(384, 9), nn.Tanh(), nn.Linear(9, 5)).eval()


def adaptively(
    tolerance: float, images: Tensor = IMAGES, targets: Tensor = TARGETS, methods: tuple[MethodName, ...] = PATHS[:1]
) -> dict[MethodName, Explanation]:
    model = curved()
    with frozen(model):
        engine = Explainer(
            model,
            "0",
            methods=methods,
            along=Adaptive(tolerance),
            baselines=[torch.zeros(3, 12, 12)],
            score="logit",
            confidence="softmax",
            batch_size=16,
        )
        return engine.explain(engine.predict(images), targets)


@pytest.mark.parametrize("nodes", [3, 5, 9, 17])
def test_clenshaw_curtis_is_exact_for_polynomials_up_to_its_degree(nodes: int) -> None:
    rule = clenshaw_curtis(nodes)
    assert (rule.weights > 0).all()
    for degree in range(nodes + 1):  # an odd number of nodes gains the odd degree above
        assert rule.weights @ rule.nodes**degree == pytest.approx(1 / (degree + 1), rel=1e-10)


def test_each_rule_has_the_nodes_of_the_one_before() -> None:
    levels = Adaptive(0.1).levels
    for coarser, finer in itertools.pairwise(levels):
        assert set(clenshaw_curtis(coarser).nodes) < set(clenshaw_curtis(finer).nodes)


@pytest.mark.parametrize("method", PATHS)
@pytest.mark.parametrize("tolerance", [0.3, 0.03, 0.003])
def test_the_estimate_is_within_the_tolerance_and_the_map_closer_still(tolerance: float, method: MethodName) -> None:
    found = adaptively(tolerance, methods=(method,))[method]
    exact = explain(curved(), IMAGES, TARGETS, "0", method=method, steps=400, rule="gauss-legendre", batch_size=400)
    actual = (found.maps - exact).flatten(2).norm(dim=2) / exact.flatten(2).norm(dim=2)
    assert found.error is not None
    assert found.nodes is not None
    finest = found.nodes == Adaptive(tolerance).levels[-1]  # Integrated Gradients jump where a ReLU turns on or off
    assert ((found.error <= tolerance) | finest).all()
    assert (finest.sum() == 0) or (method != "integrated-grad-cam" and tolerance < 0.01)
    assert ((actual <= tolerance) | finest).all()
    assert (actual < found.error + 1e-3).all()  # the estimate is the coarser rules'


def test_only_maps_that_need_it_are_refined() -> None:
    found = adaptively(0.02)["integrated-grad-cam"]
    assert found.nodes is not None
    assert len(set(found.nodes.flatten().tolist())) > 1
    assert set(found.nodes.flatten().tolist()) <= set(Adaptive(0.02).levels)


def test_nodes_estimates_and_maps_do_not_depend_on_neighbours_targets_or_methods() -> None:
    together = adaptively(0.02, methods=PATHS)
    for method in PATHS:
        whole = together[method]
        assert whole.nodes is not None
        assert whole.error is not None
        for b in range(4):
            for k in range(2):
                alone = adaptively(0.02, IMAGES[b : b + 1], TARGETS[b : b + 1, k : k + 1], (method,))[method]
                assert alone.nodes is not None
                assert alone.error is not None
                assert alone.nodes[0, 0] == whole.nodes[b, k]
                torch.testing.assert_close(alone.error[0, 0], whole.error[b, k], rtol=1e-2, atol=1e-4)
                torch.testing.assert_close(alone.maps[0, 0], whole.maps[b, k], rtol=1e-3, atol=1e-5)


def test_a_path_of_no_length_is_settled_at_once() -> None:
    found = adaptively(1e-6, torch.zeros(1, 3, 12, 12), torch.tensor([[1]]))["integrated-grad-cam"]
    assert found.maps.abs().max() < 1e-5
    zero = {"integrated-grad-cam": torch.zeros(1, 1, 2, 2)}

    def never(places: np.ndarray, _rows: Tensor):
        yield places, {"integrated-grad-cam": torch.zeros(len(places), 1, 1, 2, 2)}

    settled = integrate_to(Adaptive(1e-6), zero, {"integrated-grad-cam"}, never)["integrated-grad-cam"]
    assert settled.nodes.item() == 9
    assert settled.error is not None
    assert settled.error.item() == 0


def test_one_agreement_of_two_rules_is_not_enough() -> None:
    """A bump between the nodes of the first two rules, which therefore agree on 0."""

    def bump(places: np.ndarray, rows: Tensor):
        values = torch.from_numpy(np.exp(-(((places - 0.31) / 0.04) ** 2))).float()
        yield places, {"integrated-grad-cam": values.view(-1, 1, 1, 1, 1).expand(-1, len(rows), 1, 2, 2)}

    at_input: dict[MethodName, Tensor] = {"integrated-grad-cam": torch.zeros(1, 1, 2, 2)}
    found = integrate_to(Adaptive(0.05), at_input, {"integrated-grad-cam"}, bump)["integrated-grad-cam"]
    exact = 0.04 * np.sqrt(np.pi)
    assert abs(found.maps[0, 0, 0, 0].item() - exact) < 0.05 * exact


def test_only_images_that_are_still_open_are_asked_about() -> None:
    asked: list[tuple[int, list[int]]] = []

    def of_degree(places: np.ndarray, rows: Tensor):
        asked.append((len(places), rows.tolist()))
        rough = torch.from_numpy(np.cos(40 * places)).float().view(-1, 1, 1, 1, 1)
        smooth = torch.from_numpy(places).float().view(-1, 1, 1, 1, 1)
        values = torch.cat([rough if row == 1 else smooth for row in rows.tolist()], 1)
        yield places, {"averaged-grad-cam": values.expand(-1, -1, 1, 2, 2)}

    at_input: dict[MethodName, Tensor] = {
        "averaged-grad-cam": torch.tensor([1.0, np.cos(40.0), 1.0]).float().view(3, 1, 1, 1).expand(3, 1, 2, 2)
    }
    found = integrate_to(Adaptive(0.01), at_input, set(), of_degree)["averaged-grad-cam"]
    assert found.nodes.flatten().tolist() == [9, 65, 9]
    assert asked == [(2, [0, 1, 2]), (2, [0, 1, 2]), (4, [0, 1, 2]), (8, [1]), (16, [1]), (32, [1])]
    torch.testing.assert_close(found.maps[:, 0, 0, 0], torch.tensor([0.5, np.sin(40.0) / 40, 0.5]).float())


def test_what_never_settles_keeps_the_finest_rule_and_says_how_far_off_it_is() -> None:
    def noisy(places: np.ndarray, rows: Tensor):
        generator = torch.Generator().manual_seed(int(places.sum() * 1000))
        yield places, {"integrated-grad-cam": torch.rand(len(places), len(rows), 1, 2, 2, generator=generator)}

    at_input: dict[MethodName, Tensor] = {"integrated-grad-cam": torch.rand(2, 1, 2, 2)}
    found = integrate_to(Adaptive(1e-5), at_input, {"integrated-grad-cam"}, noisy)["integrated-grad-cam"]
    assert found.nodes.tolist() == [[129], [129]]
    assert found.error is not None
    assert found.error.min() > 1e-5


def test_an_absent_target_is_not_refined_for() -> None:
    targets = torch.tensor([[1, NO_TARGET]])
    found = adaptively(1e-4, IMAGES[:1], targets)["integrated-grad-cam"]
    assert found.nodes is not None
    assert found.nodes[0, 1] < found.nodes[0, 0]
    assert found.maps[0, 1].abs().max() == 0


@pytest.mark.parametrize("method", PATHS)
def test_several_baselines_give_the_mean_of_their_maps(method: MethodName) -> None:
    baselines = [torch.zeros(3, 12, 12), torch.full((3, 12, 12), 0.7), blurred(2.0)]
    together = explain(curved(), IMAGES, TARGETS, "0", method=method, steps=4, baseline=baselines)
    each = [explain(curved(), IMAGES, TARGETS, "0", method=method, steps=4, baseline=one) for one in baselines]
    mean = torch.stack(each).mean(0)
    if method == "integrated-gradients":  # signed until all is summed, so only where none was cut off
        agree = torch.stack(each).amin(0) > 0
        together, mean = together[agree], mean[agree]
    assert mean.max() > 0
    torch.testing.assert_close(together, mean, rtol=1e-4, atol=1e-5)


def test_a_blurred_baseline_is_the_image_s_own() -> None:
    blur = blurred(2.0)
    start = blur(IMAGES)
    assert start.shape == IMAGES.shape
    torch.testing.assert_close(start.mean(), IMAGES.mean(), atol=0.05, rtol=0)
    assert start.std() < 0.3 * IMAGES.std()
    flat = torch.full((1, 3, 9, 9), 0.4)
    torch.testing.assert_close(blur(flat), flat)
    found = explain(curved(), IMAGES, TARGETS, "0", steps=3, baseline=blur)
    for b in range(4):
        alone = explain(curved(), IMAGES[b : b + 1], TARGETS[b : b + 1], "0", steps=3, baseline=start[b])
        torch.testing.assert_close(found[b : b + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_map_over_all_rules_weights_is_their_sum() -> None:
    """The integral is linear in the rule's weights: the trapezoid is half the right and half the left sum."""

    def with_rule(rule: str, steps: int) -> Tensor:
        return explain(curved(), IMAGES, TARGETS, "0", method="averaged-grad-cam", steps=steps, rule=rule)

    left = with_rule("riemann", 6)  # averaged-grad-cam takes Riemann's left sum
    ends = explain(curved(), IMAGES, TARGETS, "0", method="grad-cam")
    origin = explain(curved(), torch.zeros_like(IMAGES), TARGETS, "0", method="grad-cam")
    torch.testing.assert_close(with_rule("trapezoid", 7), left + (ends - origin) / 12, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "cam"])  # not defined for this head
def test_only_methods_along_paths_say_how_many_nodes(method: MethodName) -> None:
    found = adaptively(0.5, methods=(method,))[method]
    assert (found.nodes is None) == (found.error is None) == (method not in PATHS)
