"""The rows an export takes: each score with its own map, a shard at a time."""

from pathlib import Path

import numpy as np
import pytest
from finished_runs import METHODS

import igcam_batch
from igcam_batch.errors import InputError
from igcam_batch.report.export.rows import Run
from igcam_batch.tables.readers import explained_shard


def keys(table) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in ("image_id", "target", "method")), strict=True))


def test_every_row_comes_with_its_own_map(voc_run: str) -> None:
    scores, heatmaps = igcam_batch.read_scores(voc_run), igcam_batch.read_heatmaps(voc_run)
    of_key = dict(zip(keys(heatmaps), heatmaps["heatmap"].combine_chunks().to_numpy_ndarray(), strict=True))
    found = list(Run(voc_run).rows())
    assert [rows.shard for rows in found] == [0, 1]
    assert [key for rows in found for key in keys(rows.scores)] == keys(scores)
    for rows in found:
        np.testing.assert_array_equal(rows.maps, [of_key[key] for key in keys(rows.scores)])


def test_those_of_an_image_come_together(voc_run: str) -> None:
    of_images = [image for rows in Run(voc_run).rows() for image in rows.by_image()]
    assert [len(rows) for _, rows in of_images] == [2, 2, 4]
    assert len({image_id for image_id, _ in of_images}) == 3


def test_a_shard_is_read_when_its_rows_are_asked_for_and_not_before(voc_run: str, monkeypatch) -> None:
    read = []

    def noting(store, shard):
        read.append(shard)
        return explained_shard(store, shard)

    monkeypatch.setattr("igcam_batch.report.export.rows.explained_shard", noting)
    some = Run(voc_run).rows()
    next(some)
    assert read == [0]
    next(some)
    assert read == [0, 1]


@pytest.mark.parametrize(("limit", "rows"), [(1, 2), (2, 4), (3, 8), (9, 8)])
def test_a_limit_is_of_images_which_stay_whole(voc_run: str, limit: int, rows: int) -> None:
    assert sum(len(some.scores) for some in Run(voc_run, limit=limit).rows()) == rows


def test_methods_are_those_asked_for(voc_run: str) -> None:
    run = Run(voc_run, ["grad-cam"])
    assert {key[2] for rows in run.rows() for key in keys(rows.scores)} == {"grad-cam"}
    assert Run(voc_run, METHODS[::-1]).methods == METHODS
    with pytest.raises(InputError, match=r"--method layer-cam: .* there are: grad-cam, integrated-grad-cam"):
        Run(voc_run, ["layer-cam"])


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audit"):
        Run(str(tmp_path))
