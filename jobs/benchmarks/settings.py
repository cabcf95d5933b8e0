"""Ways to integrate: a rule with its nodes, or a tolerance, in some precision; and what each gives on photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import click
import torch
from torch import Tensor

from benchmarks.photographs import Photographs
from benchmarks.subjects import Subject
from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.network import confidences
from igcam_batch.attribution.quadrature import FEWEST_NODES, RULES, Adaptive, Quadrature
from igcam_batch.attribution.upsample import upsample
from igcam_batch.metrics.evaluate import Explained, evaluate
from igcam_batch.names import PAPER_METRICS, MethodName, PrecisionName, ScoreName

_METHOD: MethodName = "integrated-grad-cam"
_ADAPTIVE = "adaptive"


@dataclass(frozen=True)
class Setting:
    """One way to integrate.

    Attributes:
        along: the rule, or the tolerance.
        name: of the rule, or `adaptive`.
        nodes: how many, or the tolerance.
        precision: of the network.
    """

    along: Quadrature | Adaptive
    name: str
    nodes: str
    precision: PrecisionName

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """`riemann:20`, `adaptive:0.1`, `gauss-lobatto:5:bf16`."""
        name, nodes, precision, *others = (*text.split(":"), "", "", "")
        chosen: PrecisionName = "bf16" if precision == "bf16" else "fp32"
        try:
            if precision not in ("", "fp32", "bf16") or any(others):
                raise ValueError
            if name == _ADAPTIVE:
                return cls(Adaptive(float(nodes)), name, nodes, chosen)
            rule = next(known for known in RULES if known == name)
            if int(nodes) < FEWEST_NODES[rule]:
                raise ValueError
            return cls(RULES[rule](int(nodes)), name, nodes, chosen)
        except (StopIteration, ValueError):
            raise click.BadParameter(
                f"{text}: takes RULE:NODES or adaptive:TOLERANCE, and :bf16 after it; rules: {', '.join(RULES)}"
            ) from None

    def passes(self, nodes: Tensor) -> float:
        """Forward passes for an image, the prediction's among them: every node but α = 0, and α = 1 in any case."""
        if isinstance(self.along, Adaptive):
            return float(nodes.double().mean()) - 1
        inner = (self.along.nodes > 0) & (self.along.nodes < 1)
        return float(inner.sum()) + 1


@dataclass(frozen=True)
class Explanations:
    """What a setting gives on n photographs, for one target each.

    Attributes:
        maps: (n, u, v).
        nodes: (n,) quadrature nodes of each.
        metrics: (n,) values of each metric, in points; NaN where there is none.
    """

    maps: Tensor
    nodes: Tensor
    metrics: dict[str, Tensor]


class Bench:
    """A network and photographs, to try settings on; targets are what the network predicts in float32."""

    def __init__(self, subject: Subject, photographs: Photographs, score: ScoreName) -> None:
        self._subject = subject
        self.images = photographs.images
        self._objects = photographs.objects
        self._score = score
        some = self.explainer(Setting.parse("riemann:1"))
        self.targets = torch.cat([some.predict(batch).logits.argmax(1) for batch in self.images.split(some.batch_size)])

    def explainer(self, setting: Setting) -> Explainer:
        """The engine with a setting; paths start from black."""
        black = self._subject.black().expand(self.images.shape[1:])
        return self._subject.explainer([_METHOD], setting.along, black, setting.precision, self._score)

    def maps(self, explainer: Explainer) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (n, u, v), their nodes (n,) and the confidences (n,) of the targets: what is timed."""
        found = []
        split = zip(self.images.split(explainer.batch_size), self.targets.split(explainer.batch_size), strict=True)
        for images, targets in split:
            prediction = explainer.predict(images)
            explanation = explainer.explain(prediction, targets.unsqueeze(1))[_METHOD]
            assert explanation.nodes is not None
            before = confidences(prediction.logits, "softmax").gather(1, targets.unsqueeze(1))
            found.append((explanation.maps[:, 0], explanation.nodes[:, 0], before[:, 0]))
        maps, nodes, before = (torch.cat(part) for part in zip(*found, strict=True))
        return maps, nodes, before

    def explain(self, explainer: Explainer) -> Explanations:
        """Maps and metrics, both at the explainer's precision, as an audit has them."""
        maps, nodes, before = self.maps(explainer)
        upsampled = upsample(maps, (self.images.shape[-2], self.images.shape[-1]))
        fill = self._subject.black().expand_as(self.images)
        explained = Explained(upsampled, self.images, self.targets, before, self._objects, fill)
        values = evaluate(PAPER_METRICS, explained, explainer.confidence)
        return Explanations(maps, nodes, {name: 100 * values[name] for name in PAPER_METRICS})


def relative_errors(maps: Tensor, exact: Tensor) -> Tensor:
    """‖map - exact‖₂ / ‖exact‖₂ of each: (n, u, v), (n, u, v) -> (n,)."""
    return torch.div(_norms(maps - exact), _norms(exact)).flatten()


def shapes(maps: Tensor) -> Tensor:
    """Maps at norm 1."""
    return torch.div(maps, _norms(maps))


def _norms(maps: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(maps, dim=(1, 2), keepdim=True)
    return norms


def parsed(settings: Sequence[str]) -> list[Setting]:
    """Each of `settings`."""
    return [Setting.parse(text) for text in settings]
