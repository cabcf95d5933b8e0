"""What one pass over a run counts, against a loop over its rows."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from written_runs import METHOD, score, write_run

from igcam_batch.report.survey import Survey, survey

OTHER = "grad-cam"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict], np.ndarray]:
    """Thirty images in three classes by two methods, some predicted otherwise, one map of zeros."""
    generator = np.random.default_rng(0)
    rows = [
        score(
            f"{n:02d}.png",
            n % 3,
            method,
            predicted=n % 3 if n % 4 else 2,
            confidence=float(n) / 30,
            target_source="label" if n % 5 else "predicted",
            target_name=None if n % 3 == 1 else f"name {n % 3}",
        )
        for n in range(30)
        for method in (METHOD, OTHER)
    ]
    maps = generator.random((len(rows), 7, 7)).astype(np.float16)
    maps[4] = 0
    return write_run(tmp_path_factory.mktemp("run") / "out", rows, maps, shard_size=7), rows, maps


@pytest.fixture(scope="module")
def found(run: tuple[str, list[dict], np.ndarray]) -> Survey:
    return survey(run[0], METHOD, 3)


def test_classes_are_counted_over_the_rows_of_one_method(
    run: tuple[str, list[dict], np.ndarray], found: Survey
) -> None:
    assert sorted(found.classes) == [0, 1, 2]
    for target, of in found.classes.items():
        rows = [row for row in run[1] if row["method"] == METHOD and row["target"] == target]
        of_label = [row for row in rows if row["target_source"] == "label"]
        assert of.name == rows[0]["target_name"]
        assert (of.rows, of.labelled) == (len(rows), len(of_label))
        assert of.correct == sum(row["predicted"] == target for row in of_label)
        assert of.confidence == pytest.approx(sum(row["confidence"] for row in rows), rel=1e-6)


def test_maps_that_are_zero_are_counted_and_agree_with_none(
    run: tuple[str, list[dict], np.ndarray], found: Survey
) -> None:
    assert found.blank == {METHOD: 1, OTHER: 0}
    [(methods, agreement)] = found.agreement.items()
    assert methods == (METHOD, OTHER)
    pairs = [(one, other) for one, other in zip(run[2][::2], run[2][1::2], strict=True) if one.any()]
    assert agreement.pairs == len(pairs) == 29
    expected = sum(spearmanr(one.ravel(), other.ravel()).statistic for one, other in pairs)
    assert agreement.correlation == pytest.approx(expected, abs=1e-4)


def test_each_method_has_galleries_of_its_own(found: Survey) -> None:
    assert list(found.galleries) == [METHOD, OTHER]
    assert all(len(picked.shown) <= 3 for of in found.galleries.values() for picked in of)


def test_without_images_there_are_no_galleries(run: tuple[str, list[dict], np.ndarray]) -> None:
    assert survey(run[0], METHOD, 0).galleries == {}
