"""Compare two runs: tables of what changed, and a page to look at."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from igcam_batch.errors import InputError
from igcam_batch.report.bootstrap import Interval
from igcam_batch.report.compare.changes import agreement, columns_of, table_of, values_of
from igcam_batch.report.compare.differences import Differences, better
from igcam_batch.report.compare.galleries import GALLERIES
from igcam_batch.report.compare.join import Matched, Pairs, join
from igcam_batch.report.compare.page import Comparison, write_page
from igcam_batch.report.compare.runs import Side, of_one_model, sides
from igcam_batch.report.destination import Destination, Kind
from igcam_batch.report.failures import explained
from igcam_batch.report.galleries import Picked
from igcam_batch.storage import Store, open_store
from igcam_batch.tables import to_parquet
from igcam_batch.tables.status import Status
from igcam_batch.words import amount_in_words

_EDGES = ("mean", "low", "high")
CHANGES_DIR, DIFFERENCES_FILE, PAGE_FILE = "changes", "differences.parquet", "comparison.html"
COMPARISON = Kind(
    "a comparison",
    "--output",
    "comparison.json",
    re.compile(rf"{CHANGES_DIR}/part-\d{{6,}}\.parquet|differences\.parquet|comparison\.html"),
)

DIFFERENCES = pa.schema(
    [
        pa.field("metric", pa.string(), nullable=False),
        *(
            pa.field(f"{what}_{edge}", pa.float64())
            for what in ("a", "b", "change")
            for edge in ("mean", "low", "high")
        ),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("better", pa.string()),
    ]
)
"""A row for each metric, over the pairs that have its value in both runs; `change` is B less A, paired.

`better` is A, B, or null: where the interval leaves a doubt, and of two models where a metric is measured by each one's
own confidence. The rows `rank_correlation` and `top_overlap` are of the two maps of a pair: they have a change alone.
"""


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        sides: the two runs.
        table: as differences.parquet.
        matched: how many rows and images of each there were, and had a partner.
    """

    sides: tuple[Side, Side]
    table: pa.Table
    matched: Matched


def compare(
    output_a: str,
    output_b: str,
    directory: str,
    *,
    method_a: str | None = None,
    method_b: str | None = None,
    images: int = 12,
    overwrite: bool = False,
) -> Compared:
    """Pair the rows of two runs by image and class, and write what changed to a directory.

    Writes comparison.html, differences.parquet (means and paired differences) and changes/ (a row for each pair), and
    comparison.json, the mark by which the directory is known; first beside it, so that a comparison that fails leaves
    what was there.

    Args:
        output_a: OUTPUT of an audit, finished or not.
        output_b: OUTPUT of another audit of the same images.
        directory: a path or s3://..., where they are written: empty, or an earlier comparison.
        method_a: of the first run; None: as `sides` says.
        method_b: of the second.
        images: in each gallery of the page at most; 0: none.
        overwrite: whether an earlier comparison in `directory` is replaced.

    Raises:
        InputError: one is no audit, or of another version; they have no image and class in common; or `directory` holds
            a comparison, or anything else.
    """
    a, b = sides(output_a, output_b, method_a, method_b)
    destination = Destination(directory, COMPARISON, overwrite)
    statuses = explained(output_a, "compare"), explained(output_b, "compare")
    with tempfile.TemporaryDirectory(prefix="igcam-comparison-") as place:
        staged = open_store(place)
        compared = _write((a, b), statuses, staged, images)
        of = {"a": a.output, "b": b.output, "methods": [a.method, b.method]}
        destination.put(staged, of | {"pairs": compared.matched.pairs, "images": compared.matched.images})
    return compared


def _write(runs: tuple[Side, Side], statuses: tuple[Status, Status], store: Store, images: int) -> Compared:
    a, b = runs
    matched = Matched()
    found: Differences | None = None
    picked = [Picked(gallery, images) for gallery in GALLERIES] if images else []
    for part, pairs in enumerate(join(a, b, max(status.rows for status in statuses), matched)):
        found = found or Differences(columns_of(*pairs.scores))
        _take(store, part, pairs, found, picked)
    if found is None:
        raise InputError(_apart(runs, statuses, matched))
    table = _table(found, of_one_model(a, b))
    shown = [each for each in picked if each.shown]
    write_page(store, PAGE_FILE, Comparison(a, b, matched, table, found, shown))
    store.write(DIFFERENCES_FILE, to_parquet(table))
    return Compared(runs, table, matched)


def _take(store: Store, part: int, pairs: Pairs, found: Differences, picked: Sequence[Picked]) -> None:
    """Some pairs: into the sums, the galleries, and a file of the changes."""
    values = [values_of(side, found.columns) for side in pairs.scores]
    alike = agreement(pairs)
    found.add(pairs.scores, pairs.keys, values, alike)
    change = values[1] - values[0]
    of = {name: change[:, place] for place, name in enumerate(found.columns)}
    otherwise = pairs.scores[0]["predicted"].to_numpy() != pairs.scores[1]["predicted"].to_numpy()
    rows = {
        "confidence": of["confidence"],
        "ebpg": of.get("ebpg", np.full(len(change), np.nan)),
        "rank_correlation": alike[0],
        "otherwise": otherwise.astype(np.float64),
    }
    image_ids = pairs.scores[0]["image_id"].to_numpy(zero_copy_only=False)
    for each in picked:
        each.add(rows, image_ids, pairs.scores[0]["target"].to_numpy())
    table = table_of(pairs, found.columns, values, alike)
    store.write(f"{CHANGES_DIR}/part-{part:06d}.parquet", to_parquet(table))


def _table(found: Differences, one_model: bool) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {"metric": name, "better": better(name, change, one_model), "rows": change.rows, "images": change.images}
        | _edges("a", one)
        | _edges("b", other)
        | _edges("change", change)
        for name, one, other, change in found.intervals()
    ]
    rows += [
        {"metric": name, "rows": interval.rows, "images": interval.images} | _edges("change", interval)
        for name, interval in zip(("rank_correlation", "top_overlap"), found.alike(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=DIFFERENCES)


def _edges(what: str, interval: Interval) -> dict[str, Any]:
    return {f"{what}_{edge}": getattr(interval, edge) for edge in _EDGES}


def _apart(runs: tuple[Side, Side], statuses: tuple[Status, Status], matched: Matched) -> str:
    both = " and ".join(f"{run.letter} {run.output}" for run in runs)
    if not matched.images:
        a, b = _explained(statuses[0], matched.first_a), _explained(statuses[1], matched.first_b)
        return (
            f"{both} have no image in common (A {a}; B {b}); images are known by their paths in INPUT, or the "
            "manifest's image_id: compare two audits of the same INPUT"
        )
    images = amount_in_words(matched.images, "image")
    return (
        f"{both} have {images} in common, and explain no class of them alike; audit both with --target label, or one "
        "--target class:ID"
    )


def _explained(status: Status, first: str | None) -> str:
    named = f", as {first}" if first else ""
    failed = f", and has {status.failed:,} that failed" if status.failed else ""
    return f"explains {amount_in_words(status.scored, 'image')}{named}{failed}"
