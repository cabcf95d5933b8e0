"""What in OUTPUT is an audit's own: what it may replace, and what it may not."""

import re

from igcam_batch.storage import Store
from igcam_batch.tables.compact import COMPACT_DIR
from igcam_batch.tables.plan import PLAN_DIR
from igcam_batch.tables.record import RUN_FILE
from igcam_batch.tables.shards import FAILURES_DIR, HEATMAPS_DIR, SCORES_DIR

_DIRECTORIES = (SCORES_DIR, HEATMAPS_DIR, FAILURES_DIR, COMPACT_DIR)
_FILES = ("summary.parquet", "summary.json", "clusters.parquet", "report.html")
_PLAN = re.compile(rf"{PLAN_DIR}/[0-9a-f]{{12}}/.+")  # a run that ended before its record was written leaves one


def strays(output: Store) -> list[str]:
    """What an audit would replace, though no audit is there that it could be of."""
    found = [name for name in _DIRECTORIES if any(True for _ in output.list(name))]
    found += [PLAN_DIR] if any(not _PLAN.fullmatch(entry.path) for entry in output.list(PLAN_DIR)) else []
    return found + [name for name in _FILES if output.exists(name)]


def clear(output: Store, plan: str) -> None:
    """Remove what an earlier run left, its record first, but not the plan that is about to begin."""
    for path in (RUN_FILE, *_DIRECTORIES, *_FILES):
        output.delete(path)
    for entry in output.list(PLAN_DIR):
        if _PLAN.fullmatch(entry.path) and not entry.path.startswith(f"{plan}/"):
            output.delete(entry.path)


def directory_around(output: Store, uri: str) -> str | None:
    """The directory of an audit in OUTPUT that a place is, or lies in, if it does."""
    root = f"{output.root.rstrip('/')}/"
    name = uri.removeprefix(root).partition("/")[0] if uri.startswith(root) else ""
    return name if name in (*_DIRECTORIES, PLAN_DIR) else None
