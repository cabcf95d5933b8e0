"""What every process of a run is told."""

from dataclasses import dataclass, field

from igcam_batch.config import AuditConfig
from igcam_batch.images import Recipe


@dataclass(frozen=True)
class Work:
    """Small, plain values only: they travel with every task.

    Attributes:
        config: the settings, as JSON.
        recipe: how an image becomes the model's input.
        plan: directory of the frozen manifest, in OUTPUT.
        sha256: of the model's weights.
        life: a name for the driver's life, another one for each that takes up the run.
        labels: the dataset's labels, where they name the model's classes.
        environment: the driver's AWS settings, without a secret among them.
        root: INPUT's directory or prefix.
        within: directory on disk that links do not lead out of; None: they lead anywhere.
    """

    config: str
    recipe: Recipe
    plan: str
    sha256: str
    life: str
    labels: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    root: str | None = None
    within: str | None = None

    def settings(self) -> AuditConfig:
        """The settings again."""
        return AuditConfig.model_validate_json(self.config)
