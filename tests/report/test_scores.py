"""The score table: means over the rows that have a value."""

import pyarrow as pa
import pytest

from igcam_batch.report.scores import method_means


def test_means_leave_out_rows_without_a_value_and_count_those_with_one() -> None:
    scores = pa.table(
        {
            "method": ["a", "b", "a", "a"],
            "ebpg": [0.2, None, None, 0.4],
            "drop": [1.0, 0.5, 0.0, 0.5],
        }
    )
    means = method_means(scores, ("ebpg", "drop"))
    assert list(means) == ["a", "b"]
    assert means["a"]["ebpg"] == (pytest.approx(0.3), 2)
    assert means["a"]["drop"] == (0.5, 3)
    assert means["b"]["ebpg"] == (None, 0)
