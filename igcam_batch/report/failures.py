"""Why images could not be explained, counted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from igcam_batch.errors import InputError
from igcam_batch.storage import open_store
from igcam_batch.tables.readers import tables_of
from igcam_batch.tables.shards import FAILURES_DIR
from igcam_batch.tables.status import Status, read_status
from igcam_batch.words import amount_in_words, plural, printable

_MOST_KINDS = 10_000  # that are told apart, whatever the errors hold
_DETAIL = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|s?\S*/\S+")  # what differs between images that failed alike


@dataclass
class Cause:
    """Failures that are alike but for numbers, names and paths.

    Attributes:
        stage: of the work.
        error: of the first of them.
        example: the image id of the first.
        images: how many.
    """

    stage: str
    error: str
    example: str
    images: int = 0


def all_failed(output: str, failed: int) -> str:
    """What to say of a run in which every image that was reached failed, `failed` in number."""
    subject = "the one image that was reached" if failed == 1 else f"all {failed:,} images that were reached"
    return f"{subject} failed{_mostly(causes(output), failed)}"


def some_failed(output: str, failed: int) -> str:
    """What to say of a run in which some images failed, `failed` in number: why most of them did, and where all are."""
    found, where = causes(output), f"{output.rstrip('/')}/{FAILURES_DIR}"
    line = f"{amount_in_words(failed, 'image')} failed{_mostly(found, failed)}"
    if found:
        line += f"; the first: {found[0].example}; {where} has {plural(failed, 'it', 'them all')}"
    return printable(line)


def _mostly(found: Sequence[Cause], failed: int) -> str:
    """The most frequent cause, and of how many."""
    if not found:
        return f"; {FAILURES_DIR}/, which said why, is gone"
    some = "" if found[0].images == failed else f", {found[0].images:,} of them"
    return f"{some} with: {found[0].stage}: {found[0].error}"


def causes(output: str) -> list[Cause]:
    """The causes of a run's failures, the most frequent first."""
    found: dict[tuple[str, str], Cause] = {}
    for table in tables_of(open_store(output), FAILURES_DIR, ["image_id", "stage", "error"]):
        for row in table.to_pylist():
            kind = (row["stage"], _DETAIL.sub("*", row["error"]))
            if kind not in found and len(found) >= _MOST_KINDS:
                kind = (row["stage"], "")
            found.setdefault(kind, Cause(row["stage"], row["error"], row["image_id"])).images += 1
    return sorted(found.values(), key=lambda cause: (-cause.images, cause.stage, cause.error))


def explained(output: str, use: str) -> Status:
    """How far a run is of which some image was explained.

    Args:
        output: OUTPUT of an audit, finished or not.
        use: what its rows are wanted for, a verb.

    Raises:
        InputError: none was, and why.
    """
    status = read_status(output)
    if status.scored:
        return status
    why = (
        all_failed(output, status.failed)
        if status.failed
        else "no image is explained yet; the same audit command goes on"
    )
    raise InputError(f"{output}: nothing to {use}: {why}")
