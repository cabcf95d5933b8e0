"""The demo's run: an audit like any other, of the photographs with the demo's model, and a sheet to look at."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from igcam_batch.audit.errors import EndedError
from igcam_batch.audit.job import Summary, run_audit
from igcam_batch.audit.progress import Progress
from igcam_batch.config import AuditConfig
from igcam_batch.demo.model import REFERENCE
from igcam_batch.demo.photographs import write_photographs
from igcam_batch.report.html.page import REPORT_FILE, write_report
from igcam_batch.report.sheet import write_sheet


@dataclass(frozen=True)
class Demo:
    """What the demo left.

    Attributes:
        summary: of its audit.
        means: its summary table.
        report: a page to open in a browser.
        sheet: a PNG of original, map and overlay for each photograph.
    """

    summary: Summary
    means: pa.Table
    report: Path
    sheet: Path


def run_demo(directory: str, progress: Progress) -> Demo:
    """Explain the photographs by three methods and four metrics, into photographs, tables, report and sheet.

    Raises:
        InputError: the demo's packages are not installed, or `directory` cannot be written.
    """
    root = Path(directory)
    write_photographs(root / "photographs")
    config = AuditConfig(
        input=str(root / "photographs"),
        output=str(root / "audit"),
        layout="voc",
        model=REFERENCE,
        method=("grad-cam", "grad-cam++", "integrated-grad-cam"),
        target="label",
        overwrite=True,
    )
    try:
        summary = run_audit(config, progress)
    except EndedError as error:
        raise type(error)(error.reason) from None  # a demo does not go on: it begins anew
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    sheet = root.resolve() / "sheet.png"
    write_sheet(summary.output, sheet)
    return Demo(summary, write_report(summary.output), Path(summary.output) / REPORT_FILE, sheet)
