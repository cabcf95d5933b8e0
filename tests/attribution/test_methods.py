"""Every method against its formula written out, and against the peers that have it."""

from collections.abc import Callable
from typing import Any

import captum.attr
import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F
import torchcam.methods
from networks import torchvision_model
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from igcam_batch import InputError, explain
from igcam_batch.attribution.methods import METHODS
from igcam_batch.names import METHODS as NAMES
from igcam_batch.names import MethodName

IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(11))
TARGETS = torch.tensor([[0, 4], [3, 1]])


def linear_head() -> nn.Module:
    """Mean pooling and one linear layer after the layer `0`, whose maps are as large as the image."""
    torch.manual_seed(12)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU())
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


def deep_head() -> nn.Module:
    """Convolution, max pooling and two linear layers after the layer `0`."""
    torch.manual_seed(13)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
    head = (nn.Conv2d(6, 8, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 9), nn.Tanh())
    return nn.Sequential(trunk, *head, nn.Linear(9, 5)).eval()


HEADS = {"linear head": linear_head, "deep head": deep_head}


def head(model: nn.Module, activations: Tensor) -> Tensor:
    for module in list(model)[1:]:
        activations = module(activations)
    return activations


def pair(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Activations (N, u, v) and gradients of one image, by plain autograd."""
    activations = model[0](image[None]).detach().requires_grad_()
    gradients = torch.autograd.grad(score(head(model, activations))[0, target], activations)[0]
    return activations.detach()[0], gradients[0]


def weighted(weights: list[Tensor], activations: Tensor) -> Tensor:
    return sum(weight * channel for weight, channel in zip(weights, activations, strict=True)).relu()


def xgrad(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    activations, gradients = pair(model, image, target, score)
    return weighted([(g * a).sum() / a.sum() for g, a in zip(gradients, activations, strict=True)], activations)


def layer(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    activations, gradients = pair(model, image, target, score)
    return sum(g.relu() * a for g, a in zip(gradients, activations, strict=True)).relu()


def ablation(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    activations, _ = pair(model, image, target, score)
    whole = score(head(model, activations[None]))[0, target]
    weights = []
    for k in range(len(activations)):
        without = activations.clone()
        without[k] = 0
        weights.append((whole - score(head(model, without[None]))[0, target]) / whole.abs())
    return weighted(weights, activations).detach()


def score_cam(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    activations, _ = pair(model, image, target, score)
    increases = []
    for channel in activations:
        mask = F.interpolate(channel[None, None], image.shape[-2:], mode="bilinear")[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else mask * 0
        increases.append(score(model((image * mask)[None]))[0, target] - score(model(image[None] * 0))[0, target])
    return weighted(list(torch.stack(increases).exp() / torch.stack(increases).exp().sum()), activations).detach()


def averaged(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    """The authors' notebook, whose sum is divided by m here."""
    maps = []
    for t in range(5):
        activations, gradients = pair(model, image * t / 5, target, score)
        maps.append(weighted([g.mean() for g in gradients], activations))
    return sum(maps) / 5


def pixels(model: nn.Module, image: Tensor, target: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    total = torch.zeros_like(image)
    for t in range(1, 6):
        point = (image * t / 5)[None].requires_grad_()
        total += torch.autograd.grad(score(model(point))[0, target], point)[0][0] / 5
    return (total * image).sum(0).relu()


FORMULAS: dict[MethodName, Callable[..., Tensor]] = {
    "xgrad-cam": xgrad,
    "layer-cam": layer,
    "ablation-cam": ablation,
    "score-cam": score_cam,
    "averaged-grad-cam": averaged,
    "integrated-gradients": pixels,
}
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda logits: logits,
    "probability": lambda logits: logits.softmax(1),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", FORMULAS)
def test_a_method_is_its_formula(method: MethodName, kind: str, score: Any) -> None:
    model = HEADS[kind]()
    found = explain(model, IMAGES, TARGETS, "0", method=method, steps=5, score=score, batch_size=3)
    seen = 0.0
    for b in range(2):
        for k in range(2):
            expected = FORMULAS[method](model, IMAGES[b], int(TARGETS[b, k]), SCORES[score])
            torch.testing.assert_close(found[b, k], expected, rtol=1e-4, atol=1e-5 * float(expected.max()) + 1e-9)
            seen = max(seen, float(expected.max()))
    assert seen > 0


def test_the_tests_here_and_beside_here_name_every_method() -> None:
    elsewhere = {"integrated-grad-cam", "grad-cam", "grad-cam++"}
    assert set(NAMES) == set(METHODS) == elsewhere | FORMULAS.keys() | {"cam", "smooth-grad-cam++"}


def test_cam_weighs_channels_by_the_linear_layer_whatever_the_score() -> None:
    model = linear_head()
    for score in ("logit", "probability"):
        found = explain(model, IMAGES, TARGETS, "0", method="cam", score=score)
        expected = torch.einsum("bkn,bnuv->bkuv", model[3].weight[TARGETS], model[0](IMAGES)).relu().detach()
        torch.testing.assert_close(found, expected)
    grad_cam = explain(model, IMAGES, TARGETS, "0", method="grad-cam")
    torch.testing.assert_close(found, grad_cam * 144)  # Selvaraju et al. sec. 3.1: the same but for 1 / (uv)


def test_cam_of_another_head_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="--method cam: is defined for a head of mean pooling and one linear layer"):
        explain(deep_head(), IMAGES, TARGETS, "0", method="cam")


def test_a_negative_score_does_not_turn_ablation_around() -> None:
    model = linear_head()
    with torch.no_grad():
        model[3].bias.fill_(5.0)
    above = explain(model, IMAGES, TARGETS, "0", method="ablation-cam")
    with torch.no_grad():
        model[3].bias.fill_(-5.0)
    below = explain(model, IMAGES, TARGETS, "0", method="ablation-cam")
    assert above.max() > 0
    torch.testing.assert_close(above / above.amax((2, 3), True), below / below.amax((2, 3), True))


# Peers


PEER_CLASSES = {"xgrad-cam": pytorch_grad_cam.XGradCAM, "layer-cam": pytorch_grad_cam.LayerCAM}


@pytest.mark.parametrize("method", PEER_CLASSES)
@pytest.mark.parametrize(("name", "place"), [("resnet18", "layer4"), ("vgg11", "features.19")])
def test_it_equals_pytorch_grad_cam(method: MethodName, name: str, place: str) -> None:
    model = torchvision_model(name, head_scale=1e3)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    targets = model(images).argmax(1).tolist()
    with PEER_CLASSES[method](model=model, target_layers=[model.get_submodule(place)]) as peer:
        peer(input_tensor=images.clone().requires_grad_(), targets=[ClassifierOutputTarget(t) for t in targets])
        kept = peer.activations_and_grads
        theirs = peer.get_cam_image(
            images, model.get_submodule(place), targets, kept.activations[0].numpy(), kept.gradients[0].numpy(), False
        )
    theirs = torch.from_numpy(theirs).relu()
    ours = explain(model, images, torch.tensor(targets), place, method=method)
    assert theirs.max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.max()))


@pytest.mark.parametrize("kind", HEADS)
def test_ablation_equals_pytorch_grad_cam_s_where_scores_are_positive(kind: str) -> None:
    model = HEADS[kind]()
    with torch.no_grad():
        list(model)[-1].bias.add_(3.0)
    targets = TARGETS[:, 0]
    assert model(IMAGES).gather(1, targets[:, None]).min() > 0
    with pytorch_grad_cam.AblationCAM(
        model=model, target_layers=[model[0]], ablation_layer=AblationLayer(), batch_size=4
    ) as peer:
        wanted = [ClassifierOutputTarget(int(t)) for t in targets]
        activations = model[0](IMAGES).detach().numpy()
        weights = torch.from_numpy(peer.get_cam_weights(IMAGES, model[0], wanted, activations, None))
    theirs = torch.einsum("bn,bnuv->buv", weights, torch.from_numpy(activations)).relu()
    ours = explain(model, IMAGES, targets, "0", method="ablation-cam")
    assert theirs.max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_score_cam_equals_both_peers_where_masks_need_no_upsampling() -> None:
    """They upsample with aligned corners, or scale before upsampling; the paper scales what it has upsampled."""
    model, targets = linear_head(), TARGETS[:, 0]
    ours = explain(model, IMAGES, targets, "0", method="score-cam", batch_size=4)
    activations = model[0](IMAGES).detach()
    with pytorch_grad_cam.ScoreCAM(model=model, target_layers=[model[0]]) as peer:
        wanted = [ClassifierOutputTarget(int(t)) for t in targets]
        weights = torch.from_numpy(peer.get_cam_weights(IMAGES, model[0], wanted, activations.numpy(), None))
    theirs = torch.einsum("bn,bnuv->buv", weights, activations).relu()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    with torchcam.methods.ScoreCAM(model, "0", input_shape=(3, 12, 12)) as extractor:
        model(IMAGES)
        (theirs,) = extractor(class_idx=targets.tolist(), normalized=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_smooth_grad_cam_plus_plus_is_its_formula_over_the_noise_it_draws() -> None:
    """No peer has the paper's: torchcam sums A · g³ over positions where eq. 9 sums A, and adds 1e-8."""
    model = deep_head()
    method = METHODS["smooth-grad-cam++"]
    noise = torch.randn(method.copies, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = explain(model, IMAGES, TARGETS, "0", method="smooth-grad-cam++", batch_size=3)
    for b in range(2):
        spread = method.spread * (IMAGES[b].max() - IMAGES[b].min())
        for k in range(2):
            target = int(TARGETS[b, k])
            gradients = [pair(model, IMAGES[b] + spread * sample, target, SCORES["logit"])[1] for sample in noise]
            first, second, third = (torch.stack([g.double() ** p for g in gradients]).mean(0) for p in (1, 2, 3))
            activations = pair(model, IMAGES[b], target, SCORES["logit"])[0]
            weights = []
            for channel in range(6):
                alpha = second[channel] / (2 * second[channel] + activations[channel].sum() * third[channel])
                weights.append((alpha * first[channel].relu()).sum().float())
            expected = weighted(weights, activations)
            assert expected.max() > 0
            torch.testing.assert_close(found[b, k], expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_without_noise_smooth_grad_cam_plus_plus_is_grad_cam_plus_plus() -> None:
    images = torch.ones(1, 3, 12, 12)  # an image without a range has no noise
    smooth = explain(deep_head(), images, torch.tensor([1]), "0", method="smooth-grad-cam++")
    plain = explain(deep_head(), images, torch.tensor([1]), "0", method="grad-cam++")
    assert plain.max() > 0
    torch.testing.assert_close(smooth, plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("rule", ["riemann", "gauss-legendre"])
def test_integrated_gradients_equal_captum_s(rule: Any) -> None:
    model = deep_head()
    captums = {"riemann": "riemann_right", "gauss-legendre": "gausslegendre"}
    theirs = captum.attr.IntegratedGradients(model).attribute(
        IMAGES, torch.full_like(IMAGES, 0.5), TARGETS[:, 1], n_steps=7, method=captums[rule]
    )
    baseline = torch.full((3, 12, 12), 0.5)
    ours = explain(
        model, IMAGES, TARGETS[:, 1], "0", method="integrated-gradients", steps=7, rule=rule, baseline=baseline
    )
    assert ours.shape == (2, 12, 12)
    torch.testing.assert_close(ours, theirs.sum(1).relu().float(), rtol=1e-3, atol=1e-6)


def test_grad_cam_equals_captum_s_and_torchcam_s() -> None:
    model = deep_head()
    ours = explain(model, IMAGES, TARGETS[:, 0], "0", method="grad-cam")
    theirs = captum.attr.LayerGradCam(model, model[0]).attribute(IMAGES, TARGETS[:, 0], relu_attributions=True)
    torch.testing.assert_close(ours, theirs[:, 0].detach())
    with torchcam.methods.GradCAM(model, "0", input_shape=(3, 12, 12)) as extractor:
        scores = model(IMAGES.clone().requires_grad_())
        (theirs,) = extractor(TARGETS[:, 0].tolist(), scores, normalized=False)
    torch.testing.assert_close(ours, theirs)
