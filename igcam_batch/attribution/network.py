"""A classifier as the methods see it: inputs in; activations, scores, and the scores' gradients out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igcam_batch.attribution.head import pooled_linear_weights
from igcam_batch.attribution.memory import is_out_of_memory
from igcam_batch.attribution.split import Reach, Split
from igcam_batch.errors import InputError
from igcam_batch.names import ConfidenceName, PrecisionName, ScoreName

_LEAST_EXPONENT = -126  # of a float32 with all its digits
NO_TARGET = -1  # pads the targets of an image that has fewer than its neighbours
DTYPES: dict[PrecisionName, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def confidences(logits: Tensor, kind: ConfidenceName) -> Tensor:
    """Logits (B, C) -> confidences (B, C) float32: softmax over classes, or a sigmoid for each."""
    return logits.float().softmax(1) if kind == "softmax" else logits.float().sigmoid()


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        inputs: (n, 3, H, W).
        activations: (n, N, u, v); in the autograd graph, unless the head has a closed form.
        outputs: (n, C), the logits as the model gave them; in the same graph.
        logits: (n, C) float32, detached.
        reach: how far down gradients go.
    """

    inputs: Tensor
    activations: Tensor
    outputs: Tensor
    logits: Tensor
    reach: Reach


class Network:
    """One layer of one model.

    Args:
        model: maps (B, 3, H, W) to logits (B, C); in eval mode with frozen parameters (`frozen`).
        layer: dotted module name.
        score: what is differentiated, logit or probability.
        confidence: what a probability is, softmax or sigmoid.
        precision: fp32 or tf32, as whoever runs this has set torch, or the dtype that autocast computes in.

    Raises:
        LayerError: the model has no such layer.
    """

    def __init__(
        self, model: nn.Module, layer: str, score: ScoreName, confidence: ConfidenceName, precision: PrecisionName
    ) -> None:
        self._split = Split(model, layer)
        self.layer = layer
        self._score = score
        self.confidence = confidence
        self._precision = precision
        self._memory_format = _memory_format(model)
        self._head: Tensor | None = None
        self._head_is_known = False
        self._gradients_batch: bool | None = None

    def forward(self, inputs: Tensor, *, pixels: bool = False) -> Pass:
        """Run the inputs through the model, ready for gradients.

        Args:
            inputs: (n, 3, H, W).
            pixels: whether gradients at the inputs will be wanted, and not at the layer alone.
        """
        inputs = self.laid_out(inputs)
        if pixels:
            inputs = inputs.detach().requires_grad_()
        reach: Reach = "all" if pixels else "none" if self._head is not None else "head"
        with self._arithmetic(inputs):
            activations, logits = self._split(inputs, reach)
        if not self._head_is_known:
            self._head, self._head_is_known = pooled_linear_weights(activations, logits), True
        return Pass(inputs, activations, logits, logits.detach().float(), reach)

    def gradients(self, made: Pass, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gradients of the targets' scores, which use up the graph of a pass.

        Images do not interact in eval mode, so the k-th targets of all of them are differentiated together; and through
        the head, all K in one call. A head of pooling and one linear layer needs no call: see `head`.

        Args:
            made: from `forward`.
            targets: (n, K) class indices; NO_TARGET has a gradient of 0.

        Returns:
            (n, K, N, u, v) at the layer, and (n, K, 3, H, W) at the inputs if they were wanted.
        """
        if made.reach == "none":
            return self._closed_form(made, targets), None
        slopes, exponents = self._slopes(made.logits, targets), None
        if self._precision == "fp16" and self._score == "probability":
            slopes, exponents = _in_range(slopes)
        slopes = slopes.to(made.outputs)
        if made.reach == "all":
            found = _one_by_one(made.outputs, [made.activations, made.inputs], slopes)
        else:
            found = [self._through_head(made.outputs, made.activations, slopes)]
        if exponents is not None:
            found = [torch.ldexp(gradients.float(), exponents[..., None, None, None]) for gradients in found]
        return found[0], found[1] if made.reach == "all" else None

    def class_weights(self, targets: Tensor) -> Tensor | None:
        """(n, K) -> (n, K, N), the linear head's weights; None for any other head. Known after the first pass."""
        if self._head is None:
            return None
        return self._head[targets.clamp_min(0)] * (targets != NO_TARGET).unsqueeze(-1)

    @property
    def head(self) -> Tensor | None:
        """(C, N) weights of a head of mean pooling and one linear layer; None for any other. Known after a pass."""
        return self._head

    def activations(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, u, v) float32: the layer's activations alone, without gradients."""
        with self._arithmetic(inputs):
            return self._split(self.laid_out(inputs), "none")[0].float()

    def logits(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C) float32, without gradients."""
        with torch.no_grad(), self._arithmetic(inputs):
            return self._split.model(self.laid_out(inputs)).float()  # type: ignore[no-any-return]

    def head_on(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """What the head makes of other activations than those of an image (1, 3, H, W): (n, N, u, v) -> (n, C) float32.

        The trunk runs now, and not again for any activations.
        """
        with self._arithmetic(image):
            resumed = self._split.on(self.laid_out(image))

        def head(activations: Tensor) -> Tensor:
            with self._arithmetic(image):
                return resumed(activations).float()

        return head

    def scores(self, logits: Tensor) -> Tensor:
        """y: (..., C) logits as they are, or as probabilities; float32."""
        return logits.float() if self._score == "logit" else confidences(logits, self.confidence)

    def _slopes(self, logits: Tensor, targets: Tensor) -> Tensor:
        """∂y_c/∂z, z being the logits: (n, C) and (n, K) -> (K, n, C) float32."""
        chosen = _chosen(logits, targets)
        if self._score == "logit":
            return chosen
        logits = logits.clone().requires_grad_()
        with torch.enable_grad():
            scores = self.scores(logits)
        return _one_by_one(scores, [logits], chosen)[0].transpose(0, 1)

    def _closed_form(self, made: Pass, targets: Tensor) -> Tensor:
        """∂y_c/∂A_k = Σ_j ∂y_c/∂z_j · W_jk / (uv), z being the logits."""
        weights = self.class_weights(targets)
        assert weights is not None
        assert self._head is not None
        if self._score == "probability":
            weights = self._slopes(made.logits, targets).transpose(0, 1) @ self._head
        rows, columns = made.activations.shape[-2:]
        return (weights / (rows * columns))[..., None, None].expand(*weights.shape, rows, columns)

    def _through_head(self, outputs: Tensor, activations: Tensor, slopes: Tensor) -> Tensor:
        """(n, K, N, u, v), by one batched backward pass of the head; by K where an operation has no batched one."""
        if len(slopes) == 1 or self._gradients_batch is False:
            return _one_by_one(outputs, [activations], slopes)[0]
        try:
            found = torch.autograd.grad(
                outputs, activations, slopes, is_grads_batched=True, retain_graph=self._gradients_batch is None
            )[0]
        except RuntimeError as error:
            if self._gradients_batch or is_out_of_memory(error):
                raise
            self._gradients_batch = False
            return _one_by_one(outputs, [activations], slopes)[0]
        self._gradients_batch = True
        return found.transpose(0, 1)

    def laid_out(self, inputs: Tensor) -> Tensor:
        """The inputs in the memory format of the model's weights."""
        return inputs.contiguous(memory_format=self._memory_format)

    def _arithmetic(self, inputs: Tensor) -> AbstractContextManager[object]:
        if self._precision not in DTYPES:
            return nullcontext()
        return torch.autocast(inputs.device.type, dtype=DTYPES[self._precision])


def _memory_format(model: nn.Module) -> torch.memory_format:
    """channels_last where some weight is laid out so and not otherwise."""
    last = any(
        weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in model.parameters()
    )
    return torch.channels_last if last else torch.contiguous_format


def _chosen(logits: Tensor, targets: Tensor) -> Tensor:
    """(n, C), (n, K) -> (K, n, C): 1 at each target, 0 elsewhere and where there is no target."""
    chosen = logits.new_zeros((*targets.shape, logits.shape[1]))
    chosen.scatter_(2, targets.clamp_min(0).unsqueeze(2), (targets != NO_TARGET).unsqueeze(2).to(chosen))
    return chosen.transpose(0, 1)


def _one_by_one(outputs: Tensor, places: Sequence[Tensor], slopes: Tensor) -> list[Tensor]:
    """The gradients at each place (n, ...), for slopes (K, n, C) at the outputs: (n, K, ...), by K backward passes."""
    last = len(slopes) - 1
    of_each = [
        torch.autograd.grad(outputs, places, of_k, retain_graph=k < last, materialize_grads=True)
        for k, of_k in enumerate(slopes)
    ]
    return [torch.stack(of_place, 1) for of_place in zip(*of_each, strict=True)]


def _in_range(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes whose highest is 1 to 2 for each target, and the powers of two that they were divided by, (n, K).

    Those of a probability near 0 or 1 are less than float16 can hold.
    """
    exponents = (torch.frexp(slopes.abs().amax(-1)).exponent - 1).clamp_min(_LEAST_EXPONENT)
    return torch.ldexp(slopes, -exponents.unsqueeze(-1)), exponents.T


def check_targets(targets: Tensor, classes: int) -> None:
    """InputError unless every target is one of `classes` class indices."""
    wrong = targets[(targets < 0) | (targets >= classes)]
    if wrong.numel():
        raise InputError(f"target {int(wrong[0])}: the model has {classes} classes, 0 to {classes - 1}")
