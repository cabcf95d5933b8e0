"""Which images changed most between two runs."""

import numpy as np

from igcam_batch.report.galleries import Gallery, positive

GALLERIES = (
    Gallery(
        "elsewhere",
        "Maps least alike",
        "The lowest rank correlation (Spearman) between the two maps.",
        lambda rows: 1 - rows["rank_correlation"],
        lambda number: f"rank correlation {1 - number:.2f}".replace("-", "−"),
    ),
    Gallery(
        "predicted",
        "Predictions differ",
        "The two models give different classes; where their confidences in this one differ most.",
        lambda rows: np.where(rows["otherwise"] == 1, abs(rows["confidence"]), np.nan),
    ),
    Gallery("better", "Nearer to the boxes in B", "EBPG rose most.", lambda rows: positive(rows["ebpg"])),
    Gallery("worse", "Further from the boxes in B", "EBPG fell most.", lambda rows: positive(-rows["ebpg"])),
    Gallery("surer", "Surer in B", "The confidence rose most.", lambda rows: positive(rows["confidence"])),
    Gallery("unsure", "Less sure in B", "The confidence fell most.", lambda rows: positive(-rows["confidence"])),
)
"""Their columns: the changes, B less A, of `confidence` and `ebpg`; `rank_correlation` of the maps; and `otherwise`, 1
where the models predict different classes."""
