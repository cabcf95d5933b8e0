"""An export that comes to nothing: why, in one line, and a directory that is as it was."""

from pathlib import Path

import numpy as np
import pytest
from drawings import picture
from written_runs import SIDE, blob, score, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.export.export import FORMS, FormName, export


@pytest.mark.parametrize("form", FORMS)
def test_a_run_with_only_failures_is_told(tmp_path: Path, form: FormName) -> None:
    output = write_run(tmp_path / "out", [], np.zeros((0, 7, 7)), failures={"a.png": "broken", "b.png": "broken"})
    with pytest.raises(InputError) as caught:
        export(output, str(tmp_path / "dir"), form)
    line = f"{output}: nothing to export: all 2 images that were reached failed with: decode: broken"
    assert str(caught.value) == line
    assert not (tmp_path / "dir").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_has_explained_nothing_yet_is_told(tmp_path: Path, form: FormName) -> None:
    output = write_run(tmp_path / "out", [], np.zeros((0, 7, 7)), remaining=2)
    with pytest.raises(InputError, match="nothing to export: no image is explained yet"):
        export(output, str(tmp_path / "dir"), form)


def test_overlays_of_images_that_are_all_gone_are_no_export(tmp_path: Path) -> None:
    output = write_run(tmp_path / "out", [score("a.png"), score("b.png")], np.stack([blob(3, 3)] * 2))
    with pytest.raises(InputError, match=r"nothing to export: 2 images could not be had, the first a\.png: "):
        export(output, str(tmp_path / "dir"), "overlay")
    assert not (tmp_path / "dir").exists()


def test_one_that_breaks_off_is_not_in_the_way_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(1, (SIDE, SIDE)).save(tmp_path / "a.png")
    output = write_run(tmp_path / "out", [score("a.png")], blob(3, 3)[None], images=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("igcam_batch.report.export.overlay.overlay", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(output, str(tmp_path / "dir"), "overlay")
    assert not (tmp_path / "dir").exists()
    assert export(output, str(tmp_path / "dir"), "overlay").rows == 1
