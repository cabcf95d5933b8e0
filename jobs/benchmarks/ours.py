"""The engine as the worker uses it, with one setting changed at a time."""

from collections.abc import Sequence

import torch

from benchmarks.models import Subject
from igcam_batch.attribution.explainer import Explainer
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.attribution.upsample import upsample
from igcam_batch.metrics.evaluate import Explained, evaluate
from igcam_batch.names import METRICS, MethodName, PrecisionName, RuleName


class Ours:
    """One setting of the engine, ready to run."""

    def __init__(
        self,
        subject: Subject,
        methods: Sequence[MethodName],
        rule: RuleName,
        steps: int,
        precision: PrecisionName,
        targets: int,
        images: int | None,
        metrics: bool,
    ) -> None:
        self.images = subject.images[:images]
        self.targets = (subject.targets[:images, None] + torch.arange(targets, device=self.images.device)) % 1000
        self.metrics = metrics
        self.explainer = Explainer(
            subject.halved if precision == "bf16" else subject.ours,
            subject.layer,
            methods=methods,
            along=RULES[rule](steps),
            baselines=[torch.zeros_like(subject.images[0])],
            score="logit",
            confidence="softmax",
            batch_size=len(self.images),
            precision=precision,
        )

    def __call__(self) -> None:
        """Explain them once."""
        prediction = self.explainer.predict(self.images)
        found = self.explainer.explain(prediction, self.targets)
        if not self.metrics:
            return
        height, width = self.images.shape[-2:]
        for explanation in found.values():
            classes = self.targets[:, 0]
            explained = Explained(
                maps=upsample(explanation.maps[:, 0], (height, width)),
                images=self.images,
                classes=classes,
                confidences=prediction.logits.softmax(1).gather(1, classes[:, None])[:, 0],
                objects=torch.ones(len(classes), height, width, dtype=torch.bool, device=classes.device),
            )
            evaluate(METRICS, explained, self.explainer.confidence, self.images.new_zeros(3, 1, 1))


def prepared(
    subject: Subject,
    methods: Sequence[MethodName] = ("integrated-grad-cam",),
    *,
    rule: RuleName = "riemann",
    steps: int = 1,
    precision: PrecisionName = "fp32",
    targets: int = 1,
    images: int | None = None,
    metrics: bool = False,
) -> Ours:
    """The engine, ready to explain the subject's images again and again."""
    return Ours(subject, methods, rule, steps, precision, targets, images, metrics)
