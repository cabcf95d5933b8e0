"""How the score answers when a channel is taken away, or is all that is left: the weights of two methods."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from igcam_batch.attribution.network import Network
from igcam_batch.attribution.upsample import upsample


@dataclass(frozen=True)
class Perturbed:
    """A prediction, and the network to ask again.

    Attributes:
        network: the model.
        images: (B, 3, H, W).
        baselines: (B, 3, H, W), what takes the place of what is masked.
        activations: (B, N, u, v), detached.
        logits: (B, C).
        targets: (B, K) class indices.
        batch_size: inputs in one pass.
    """

    network: Network
    images: Tensor
    baselines: Tensor
    activations: Tensor
    logits: Tensor
    targets: Tensor
    batch_size: int

    def score(self, logits: Tensor, b: int) -> Tensor:
        """(n, C) -> (n, K): the scores of the targets of image b."""
        return self.network.scores(logits)[:, self.targets[b].clamp_min(0)]


def score_weights(perturbed: Perturbed) -> Tensor:
    """Score-CAM: softmax over channels of the score with all but the channel masked. Wang et al., CVPRW 2020, alg. 1.

    The mask is the channel's activation, upsampled and scaled to 0..1; the pixels it hides become the baseline's. The
    paper subtracts the baseline's own score, which no softmax sees. A channel that is constant masks everything: the
    baseline is asked once for all of these.

    Returns:
        (B, K, N) float32.
    """
    return torch.stack([_increase_of_confidence(perturbed, b) for b in range(len(perturbed.images))])


def ablation_weights(perturbed: Perturbed) -> Tensor:
    """Ablation-CAM: (y - y without the channel) / |y|. Desai and Ramaswamy, WACV 2020, eq. 3.

    The paper divides by y, for scores above 0; |y| keeps what lowers a negative score from passing for what raises it.
    A score of exactly 0 is not divided.

    Returns:
        (B, K, N) float32.
    """
    return torch.stack([_drop_by_channel(perturbed, b) for b in range(len(perturbed.images))])


def _increase_of_confidence(perturbed: Perturbed, b: int) -> Tensor:
    """(K, N): Score-CAM's weights for one image."""
    image, baseline = perturbed.images[b], perturbed.baselines[b]
    activations = perturbed.activations[b].float()
    low, high = activations.amin((1, 2)), activations.amax((1, 2))
    active = (high > low).nonzero().squeeze(1)
    nothing = perturbed.score(perturbed.network.logits(baseline.unsqueeze(0)), b)
    scores = nothing.expand(len(activations), -1).clone()
    for channels in active.split(perturbed.batch_size):
        masks = upsample(activations[channels], (image.shape[-2], image.shape[-1]))
        least, most = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
        masks = ((masks - least) / (most - least).clamp_min(torch.finfo(masks.dtype).tiny)).unsqueeze(1)
        masked = torch.lerp(baseline, image, masks.to(image))
        scores[channels] = perturbed.score(perturbed.network.logits(masked), b)
    return scores.softmax(0).T


def _drop_by_channel(perturbed: Perturbed, b: int) -> Tensor:
    """(K, N): Ablation-CAM's weights for one image."""
    activations = perturbed.activations[b]
    whole = perturbed.score(perturbed.logits[b : b + 1], b)
    drops = whole.new_zeros(len(activations), whole.shape[1])
    active = activations.flatten(1).any(1).nonzero().squeeze(1)  # a channel that is 0 leaves nothing to take away
    without = _without_each if perturbed.network.head is None else _without_each_closed
    for channels, logits in without(perturbed, b, active):
        drops[channels] = whole - perturbed.score(logits, b)
    scale = torch.where(whole == 0, 1.0, whole.abs())
    return (drops / scale).T


_Logits = Iterator[tuple[Tensor, Tensor]]  # channels (n,), and the logits (n, C) without each of them
_WithoutEach = Callable[[Perturbed, int, Tensor], _Logits]


def _without_each(perturbed: Perturbed, b: int, active: Tensor) -> _Logits:
    """By the head, on activations with one channel at 0."""
    head = perturbed.network.head_on(perturbed.images[b : b + 1])
    for channels in active.split(perturbed.batch_size):
        ablated = perturbed.activations[b].repeat(len(channels), 1, 1, 1)
        ablated[torch.arange(len(channels)), channels] = 0
        yield channels, head(ablated)


def _without_each_closed(perturbed: Perturbed, b: int, active: Tensor) -> _Logits:
    """A head of pooling and one linear layer loses W_ck · mean_ij(A_k)."""
    weights = perturbed.network.head
    assert weights is not None
    means = perturbed.activations[b].float().mean((1, 2))
    for channels in active.split(256):
        yield channels, perturbed.logits[b] - (weights[:, channels] * means[channels]).T
