"""What a card says of an image × target."""

from pathlib import Path
from typing import Any

import pytest
from written_runs import METHOD, blob, score, write_run

from igcam_batch.report.html.cards import Card, deal


def card(tmp_path: Path, **values: Any) -> Card:
    output = write_run(tmp_path / "out", [score("a.png", 0, **values)], blob(3, 3)[None])
    [found] = deal(output, [("a.png", 0)], METHOD).cards.values()
    return found


@pytest.mark.parametrize(
    ("source", "predicted", "said", "wrong"),
    [
        ("label", 3, "cat", True),
        ("label", 0, "", False),
        ("predicted+label", 3, "cat", True),
        ("predicted", 0, "", False),
        ("top-2", 3, "cat", False),
        ("class", 3, "cat", False),
    ],
)
def test_the_prediction_is_told_wherever_it_is_not_the_target(
    tmp_path: Path, source: str, predicted: int, said: str, wrong: bool
) -> None:
    found = card(tmp_path, target_source=source, predicted=predicted, predicted_name="cat")
    assert (found.predicted, found.wrong) == (said, wrong)


def test_the_title_says_what_the_number_is(tmp_path: Path) -> None:
    assert card(tmp_path, target_name="dog", confidence=0.954).title == "dog, confidence 95\u00a0%"


def test_a_number_is_not_parted_from_its_sign(tmp_path: Path) -> None:
    assert card(tmp_path, drop=0.35, ebpg=0.5).words == "EBPG 50\u00a0%, Drop 35\u00a0%"
