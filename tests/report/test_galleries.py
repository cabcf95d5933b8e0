"""Which images a report shows."""

import numpy as np
import pytest
from written_runs import METHOD, blob, score, write_run

from igcam_batch.report.galleries import GALLERIES, Gallery, Picked
from igcam_batch.report.survey import survey


def picked(most: int) -> Picked:
    return Picked(Gallery("x", "x", "x", lambda rows: rows["number"]), most)


def test_the_highest_are_kept_whatever_the_order_they_come_in() -> None:
    numbers = np.random.default_rng(0).permutation(1000).astype(float)
    ids = np.array([f"{int(number):04d}" for number in numbers])
    for parts in (1, 7, 1000):
        found = picked(5)
        for some in np.array_split(np.arange(1000), parts):
            found.add({"number": numbers[some]}, ids[some], np.zeros(len(some)))
        assert [shown.image_id for shown in found.shown] == ["0999", "0998", "0997", "0996", "0995"]
        assert found.ranked == 1000


def test_an_image_is_shown_once_and_nan_never() -> None:
    found = picked(3)
    found.add({"number": np.array([1.0, 5.0, np.nan, 4.0])}, np.array(["a", "a", "b", "c"]), np.array([0, 1, 0, 0]))
    found.add({"number": np.array([2.0])}, np.array(["d"]), np.array([0]))
    assert [(shown.image_id, shown.target) for shown in found.shown] == [("a", 1), ("c", 0), ("d", 0)]


def shown(tmp_path, rows, maps) -> dict[str, list[str]]:
    found = survey(write_run(tmp_path / "out", rows, maps, shard_size=2), METHOD, 2)
    return {
        each.gallery.key: [image.image_id for image in each.shown] for each in found.galleries[METHOD] if each.shown
    }


def test_each_shows_what_it_says(tmp_path) -> None:
    rows = [
        score("sure-inside", confidence=0.99, ebpg=0.9, masked_confidence=0.98),
        score("sure-outside", confidence=0.98, ebpg=0.1, masked_confidence=0.97),
        score("unsure-outside", confidence=0.2, ebpg=0.0, masked_confidence=0.1),
        score("lost", confidence=0.9, masked_confidence=0.0, ebpg=0.5),
        score("gained", confidence=0.3, masked_confidence=0.9, ebpg=0.5),
        score("wrong", confidence=0.01, predicted=3, masked_confidence=0.01, ebpg=0.5),
    ]
    found = shown(tmp_path, rows, np.stack([blob(3, 3)] * len(rows)))
    assert found["sure-elsewhere"][0] == "sure-outside"
    assert "unsure-outside" not in found["sure-elsewhere"]
    assert found["drop"][0] == "lost"
    assert found["gain"] == ["gained"]
    assert found["wrong"] == ["wrong"]
    assert found["worst"][0] == "unsure-outside"
    assert found["best"][0] == "sure-inside"
    assert len(found["sample"]) == 2
    assert "disagree" not in found  # of one method


def test_without_boxes_there_is_no_gallery_that_needs_some(tmp_path) -> None:
    found = shown(tmp_path, [score(f"{n}.png") for n in range(4)], np.stack([blob(3, 3)] * 4))
    assert found.keys() == {"drop", "sample"}


def test_where_methods_disagree_is_shown_and_not_where_they_are_alike(tmp_path) -> None:
    same, other = blob(1, 1), blob(5, 5)
    rows = [score(name, method=method) for name in ("alike.png", "apart.png") for method in (METHOD, "grad-cam")]
    found = survey(write_run(tmp_path / "out", rows, np.stack([same, 2 * same, same, other])), METHOD, 5)
    for method in (METHOD, "grad-cam"):
        [disagree] = [each for each in found.galleries[method] if each.gallery.key == "disagree"]
        assert [image.image_id for image in disagree.shown] == ["apart.png"]
    agreement = found.agreement[METHOD, "grad-cam"]
    assert agreement.pairs == 2
    assert agreement.overlap == pytest.approx(1.0)


def test_every_method_has_galleries_that_rank_its_own_rows(tmp_path) -> None:
    rows = [score(f"{n}.png", method=METHOD, ebpg=n / 10) for n in range(5)]
    rows += [score(f"{n}.png", method="grad-cam", ebpg=1 - n / 10) for n in range(5)]
    found = survey(write_run(tmp_path / "out", rows, np.stack([blob(3, 3)] * len(rows)), shard_size=2), METHOD, 2)
    worst = {
        method: [image.image_id for picked in of if picked.gallery.key == "worst" for image in picked.shown]
        for method, of in found.galleries.items()
    }
    assert worst == {METHOD: ["0.png", "1.png"], "grad-cam": ["4.png", "3.png"]}


def test_methods_agree_over_what_both_explain(tmp_path) -> None:
    rows = [score("both.png", 0), score("both.png", 1), score("both.png", 0, "grad-cam"), score("one.png", 0, "cam")]
    maps = np.stack([blob(1, 1), blob(5, 5), blob(1, 1), blob(3, 3)])
    found = survey(write_run(tmp_path / "out", rows, maps), METHOD, 3)
    assert {methods: of.pairs for methods, of in found.agreement.items() if of.pairs} == {(METHOD, "grad-cam"): 1}
    assert found.agreement[METHOD, "grad-cam"].correlation == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0.004, "less than a point"), (0.01, "1 point"), (0.0149, "1 point"), (0.5, "50 points"), (1.0, "100 points")],
)
def test_what_the_confidence_changes_by_is_told_in_points(number: float, said: str) -> None:
    says = {gallery.key: gallery.says(number) for gallery in GALLERIES}
    assert says["drop"] == f"confidence falls by {said}"
    assert says["gain"] == f"confidence rises by {said}"


def test_keys_are_unique() -> None:
    assert len({gallery.key for gallery in GALLERIES}) == len(GALLERIES)
