"""How far a run is, from what it has committed."""

from dataclasses import dataclass

from igcam_batch.storage import Store, open_store
from igcam_batch.tables import read_commits
from igcam_batch.tables.record import run_in


@dataclass(frozen=True)
class Status:
    """Images of a run: every planned one is scored, failed, or remaining.

    Attributes:
        planned: images in the plan.
        scored: images with rows in `scores`.
        failed: images with a row in `failures`.
        rows: rows of `scores`.
    """

    planned: int
    scored: int
    failed: int
    rows: int

    @property
    def remaining(self) -> int:
        """Images of shards that are not committed yet."""
        return self.planned - self.scored - self.failed


def read_status(output: str) -> Status:
    """The status of the run in OUTPUT; InputError where there is none."""
    store = open_store(output)
    return count_commits(store, run_in(store).images)


def count_commits(store: Store, planned: int) -> Status:
    """Add up what the commits in OUTPUT say."""
    images = failed = rows = 0
    for _, commit in read_commits(store):
        images += commit.images
        failed += commit.failed
        rows += commit.rows
    return Status(planned, images - failed, failed, rows)
