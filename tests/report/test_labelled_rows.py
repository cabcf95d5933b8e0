"""Which rows can be right or wrong."""

import pyarrow as pa

from igcam_batch.report.targets import labelled, predicted


def test_a_row_is_of_the_label_where_its_target_was_chosen_as_such() -> None:
    rows = pa.table(
        {
            "target_source": ["label", "predicted", "predicted+label", "top-1", "class"],
            "target": [0, 1, 2, 3, 4],
            "predicted": [0, 1, 0, 3, 0],
        }
    )
    assert labelled(rows).tolist() == [True, False, True, False, False]
    assert predicted(rows).tolist() == [True, True, False, True, False]
