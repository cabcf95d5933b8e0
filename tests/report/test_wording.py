"""Every metric has its words."""

from igcam_batch.names import METRIC_COLUMNS
from igcam_batch.report.wording import WORDINGS


def test_every_metric_is_named_and_explained_once() -> None:
    assert sorted(WORDINGS) == sorted(METRIC_COLUMNS)
    for words in ([each.short for each in WORDINGS.values()], [each.meaning for each in WORDINGS.values()]):
        assert all(words)
        assert len(set(words)) == len(words)


def test_the_arrow_points_to_the_better_values() -> None:
    assert WORDINGS["ebpg"].heading == "EBPG ↑"
    assert WORDINGS["drop"].heading == "Drop ↓"
    assert WORDINGS["sparsity"].heading == "Sparsity"
