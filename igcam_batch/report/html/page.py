"""report.html of a run, finished or not."""

import pyarrow as pa

from igcam_batch.names import MAIN_METHOD
from igcam_batch.report.failures import causes, explained
from igcam_batch.report.html.cards import deal
from igcam_batch.report.html.context import Findings, context
from igcam_batch.report.html.findings import examples, oddest, write_groups
from igcam_batch.report.html.render import render
from igcam_batch.report.summary import overall, write_summary
from igcam_batch.report.survey import survey
from igcam_batch.storage import open_store
from igcam_batch.tables.record import run_in

REPORT_FILE = "report.html"
IMAGES = 12  # in a gallery


def write_report(output: str, images: int = IMAGES) -> pa.Table:
    """Write report.html, and before it the tables it sums up, into a run's OUTPUT.

    Args:
        output: OUTPUT of an audit, finished or not, on disk or S3.
        images: in each gallery at most; 0 leaves every image out of the page.

    Returns:
        The summary, as `read_summary` gives it.

    Raises:
        InputError: `output` holds no audit, or no image was explained yet.
    """
    store = open_store(output)
    record = run_in(store)
    progress = explained(output, "report")
    summary = write_summary(output)
    means = overall(summary)
    methods = list(means)
    method = MAIN_METHOD if MAIN_METHOD in methods else methods[0]
    seen = survey(output, method, images)
    groups = write_groups(output, method)
    wanted = [(shown.image_id, shown.target) for of in seen.galleries.values() for each in of for shown in each.shown]
    deck = deal(output, wanted + (examples(oddest(groups)) if images else []), method)
    found = Findings(record, progress, means, summary.to_pylist(), seen, groups, deck, causes(output))
    store.write(REPORT_FILE, render("report.html.j2", context(found)))
    return summary
