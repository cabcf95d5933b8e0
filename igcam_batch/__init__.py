"""Integrated Grad-CAM over whole image datasets.

    import igcam_batch
    maps = igcam_batch.explain(model, images, targets, layer="layer4")
    scores = igcam_batch.read_scores("OUTPUT")
    heatmaps = igcam_batch.read_heatmaps("OUTPUT", size=(224, 224))
    for heatmaps in igcam_batch.iter_heatmaps("OUTPUT", methods=["grad-cam"]): ...
    pixels = igcam_batch.colour_heatmaps(maps)

Every name is imported when it is first used: `explain` needs torch alone, the readers need pyarrow, and only an audit
needs Ray. A process that decodes images therefore never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from igcam_batch.version import VERSION

if TYPE_CHECKING:
    from igcam_batch.attribution.explain import explain
    from igcam_batch.errors import InputError
    from igcam_batch.images import Recipe
    from igcam_batch.models import Classifier
    from igcam_batch.report.colours import colour_heatmaps
    from igcam_batch.tables import iter_heatmaps, read_failures, read_heatmaps, read_scores

__version__ = VERSION
__all__ = [
    "Classifier",
    "InputError",
    "Recipe",
    "__version__",
    "colour_heatmaps",
    "explain",
    "iter_heatmaps",
    "read_failures",
    "read_heatmaps",
    "read_scores",
]

_HOMES = {
    "Classifier": "models",
    "InputError": "errors",
    "Recipe": "images",
    "colour_heatmaps": "report.colours",
    "explain": "attribution.explain",
    "iter_heatmaps": "tables",
    "read_failures": "tables",
    "read_heatmaps": "tables",
    "read_scores": "tables",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"igcam_batch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, of which most are not there before they are used."""
    return __all__
