"""What every process of a run is told."""

from dataclasses import dataclass

from igcam_batch.config import AuditConfig
from igcam_batch.images import Recipe


@dataclass(frozen=True)
class Work:
    """Small, plain values only: they travel with every task.

    Attributes:
        config: the settings, as JSON.
        recipe: how an image becomes the model's input.
        plan: directory of the frozen manifest, in OUTPUT.
        shard_size: images in a shard, but the last.
        images: images in the plan.
        sha256: of the model's weights.
        labels: the dataset's labels, where they name the model's classes.
        within: directory on disk that links do not lead out of; None: they lead anywhere.
    """

    config: str
    recipe: Recipe
    plan: str
    shard_size: int
    images: int
    sha256: str
    labels: tuple[str, ...]
    within: str | None = None

    def settings(self) -> AuditConfig:
        """The settings again."""
        return AuditConfig.model_validate_json(self.config)
