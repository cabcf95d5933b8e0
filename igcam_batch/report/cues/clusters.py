"""clusters.parquet: the groups that a run's maps fall into, class by class, the oddest first."""

from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from igcam_batch.errors import InputError
from igcam_batch.report.cues.columns import clusters_table
from igcam_batch.report.cues.describe import described
from igcam_batch.report.cues.sample import sample
from igcam_batch.report.failures import all_failed
from igcam_batch.storage import open_store
from igcam_batch.tables import to_parquet
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.shards import read_commits

CLUSTERS_FILE = "clusters.parquet"


class NothingSeenError(InputError):
    """There is no map that looks at anything."""


def write_clusters(output: str, method: str | None = None) -> pa.Table:
    """Look for cues in the maps of a run, finished or not, and write clusters.parquet into OUTPUT.

    Args:
        output: OUTPUT of an audit, on disk or S3.
        method: whose maps are looked at, each class against the others by the same method; None: those of all methods.

    Returns:
        The table, as `read_clusters` gives it, by rank.

    Raises:
        NothingSeenError: `output` holds no map by that method, or all are zero everywhere.
        InputError: `output` holds no map at all.
    """
    found = {key: of for key, of in sample(output, None if method is None else [method]).items() if len(of.maps)}
    if not found:
        raise _nothing(output, method)
    rows = []
    for name in dict.fromkeys(of_method for of_method, _ in found):
        classes = {target: of_class for (of_method, target), of_class in found.items() if of_method == name}
        with threadpool_limits(1):  # the matrices are small: several threads take five times as long
            rows += [row | {"method": name} for row in described(classes)]
    table = clusters_table(_by_rank(rows))
    open_store(output).write(CLUSTERS_FILE, to_parquet(table))
    return table


def read_clusters(output: str) -> pa.Table:
    """clusters.parquet of a run; InputError where there is none."""
    store = open_store(output)
    if not store.exists(CLUSTERS_FILE):
        raise InputError(f"{output}: holds no {CLUSTERS_FILE}; `igcam-batch report {output}` writes it")
    with store.open(CLUSTERS_FILE) as file:
        return read_parquet(file)


def _by_rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most suspicious first; of equally suspicious ones a class before its clusters."""
    ordered = sorted(rows, key=lambda row: -row["suspicion"])
    return [row | {"rank": rank} for rank, row in enumerate(ordered, start=1)]


def _nothing(output: str, method: str | None) -> InputError:
    """Why there is no map to look at."""
    commits = [commit for _, commit in read_commits(open_store(output))]
    if not commits:
        return InputError(f"{output}: holds no heatmaps of an audit; run `igcam-batch audit INPUT {output}`")
    if any(commit.failed for commit in commits) and not any(commit.rows for commit in commits):
        return InputError(f"{output}: {all_failed(output, sum(commit.failed for commit in commits))}")
    by = "" if method is None else f" by {method}"
    return NothingSeenError(f"{output}: holds no map{by} that is not zero everywhere")
