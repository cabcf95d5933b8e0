"""The demo's run: an audit like any other, of the photographs with the demo's model, and a sheet to look at."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Progress
from igcam_batch.config import AuditConfig
from igcam_batch.demo.model import REFERENCE
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.report.sheet import write_sheet
from igcam_batch.report.summary import write_summary


@dataclass(frozen=True)
class Demo:
    """What the demo left.

    Attributes:
        summary: of its audit.
        means: its summary table.
        sheet: a PNG of original, map and overlay for each photograph.
    """

    summary: Summary
    means: pa.Table
    sheet: Path


def run_demo(directory: str, progress: Progress) -> Demo:
    """Explain the photographs by three methods and four metrics; `directory` gets photographs, tables and the sheet.

    Raises:
        InputError: the demo's packages are not installed, or `directory` cannot be written.
    """
    root = Path(directory)
    write_photographs(root / "photographs")
    summary = run_audit(
        AuditConfig(
            input=str(root / "photographs"),
            output=str(root / "audit"),
            layout="voc",
            model=REFERENCE,
            method=("grad-cam", "grad-cam++", "integrated-grad-cam"),
            target="label",
            overwrite=True,
        ),
        progress,
    )
    sheet = root / "sheet.png"
    write_sheet(summary.output, sheet)
    return Demo(summary, write_summary(summary.output), sheet)
