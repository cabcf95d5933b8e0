"""Why images failed, counted; and what is said where nothing else is there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from written_runs import blob, score, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.failures import all_failed, causes, explained, some_failed


def failed(output: Path, *errors: str, remaining: int = 0) -> str:
    """A run in which every image failed, with these."""
    by_image = {f"{number}.png": error for number, error in enumerate(errors)}
    return write_run(output, [], np.zeros((0, 7, 7)), failures=by_image, remaining=remaining, shard_size=2)


def test_failures_are_alike_but_for_numbers_names_and_paths(tmp_path: Path) -> None:
    found = causes(
        failed(
            tmp_path / "out",
            "not an image",
            "truncated after 7 bytes",
            "s3://bucket/a.png: no such object",
            "truncated after 12 bytes",
            "/data/b.png: no such object",
            "truncated after 12 bytes",
        )
    )
    assert [(cause.error, cause.images, cause.example) for cause in found] == [
        ("truncated after 7 bytes", 3, "1.png"),
        ("s3://bucket/a.png: no such object", 2, "2.png"),
        ("not an image", 1, "0.png"),
    ]
    assert {cause.stage for cause in found} == {"decode"}


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (["truncated"], "the one image that was reached failed with: decode: truncated"),
        (["truncated"] * 3, "all 3 images that were reached failed with: decode: truncated"),
        (
            ["no image", "truncated", "truncated"],
            "all 3 images that were reached failed, 2 of them with: decode: truncated",
        ),
    ],
)
def test_a_run_with_only_failures_says_the_most_frequent(tmp_path: Path, errors: list[str], said: str) -> None:
    output = failed(tmp_path / "out", *errors)
    assert all_failed(output, len(errors)) == said
    with pytest.raises(InputError, match=f"out: nothing to compare: {said}$"):
        explained(output, "compare")


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (["truncated"], "1 image failed with: decode: truncated; the first: 0.png; {}/failures has it"),
        (["bad", "bad"], "2 images failed with: decode: bad; the first: 0.png; {}/failures has them all"),
        (
            ["no image", "cut\x1b[31m after 7 bytes", "cut\x1b[31m after 9 bytes"],
            "3 images failed, 2 of them with: decode: cut [31m after 7 bytes; the first: 1.png; "
            "{}/failures has them all",
        ),
    ],
)
def test_of_some_failures_the_most_frequent_is_told_with_an_image_and_where_all_are(
    tmp_path: Path, errors: list[str], said: str
) -> None:
    output = failed(tmp_path / "out", *errors)
    assert some_failed(f"{output}/", len(errors)) == said.format(output)


def test_where_somebody_removed_the_failures_it_is_told(tmp_path: Path) -> None:
    output = failed(tmp_path / "out", "truncated")
    shutil.rmtree(tmp_path / "out" / "failures")
    assert some_failed(output, 1) == "1 image failed; failures/, which said why, is gone"


def test_a_run_of_which_nothing_is_done_is_told_so(tmp_path: Path) -> None:
    output = failed(tmp_path / "out", remaining=3)
    with pytest.raises(InputError, match="nothing to export: no image is explained yet; the same audit command goes"):
        explained(output, "export")


def test_what_is_explained_is_counted_beside_what_is_not(tmp_path: Path) -> None:
    output = write_run(
        tmp_path / "out", [score("a.png")], blob(3, 3)[None], failures={"b.png": "truncated"}, remaining=2
    )
    status = explained(output, "report")
    assert (status.planned, status.scored, status.failed, status.remaining) == (4, 1, 1, 2)
