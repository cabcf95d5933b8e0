"""Where an export goes: nothing that was there is lost, and no name leads out."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igcam_batch.errors import InputError
from igcam_batch.report.export.destination import file_name, mark, open_destination, plain_name

ODD = (
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b.jpg",
    "a\\b",
    "\U0001f40d.png",
    "x" * 5000,
    ".hidden",
    "",
    "\x00\n",
    "CON",
)


@pytest.mark.parametrize("image_id", ODD)
def test_a_name_is_one_plain_part_of_a_path(image_id: str) -> None:
    name = file_name(image_id, "-3.jpg")
    assert PurePosixPath(name).parts == (name,)
    assert name.isascii()
    assert len(name) <= 100
    assert not name.startswith((".", "-"))
    assert name.endswith("-3.jpg")


@given(st.lists(st.text(), unique=True, max_size=20))
def test_names_of_different_images_differ_also_where_case_does_not_count(image_ids: list[str]) -> None:
    assert len({file_name(image_id, ".jpg").casefold() for image_id in image_ids}) == len(image_ids)


def test_a_name_says_which_image_it_is_of_and_is_always_the_same() -> None:
    assert file_name("n01440764/ILSVRC_1.JPEG", ".png").startswith("ILSVRC_1-")
    assert file_name("a/x.jpg", "") == file_name("a/x.jpg", "") != file_name("b/x.jpg", "")


@pytest.mark.parametrize("method", ["grad-cam++", "../up", "/root", ""])
def test_a_method_is_one_plain_part_too(method: str) -> None:
    assert len(PurePosixPath(plain_name(method)).parts) == 1
    assert not plain_name(method).startswith(".")


def test_a_directory_that_holds_other_things_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds thesis.tex, which is no part of an export; name another DIR"):
            open_destination(str(tmp_path), overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_export_is_replaced_only_when_asked(tmp_path: Path) -> None:
    store = open_destination(str(tmp_path / "new"))
    store.write("overlays/a.jpg", b"1")
    mark(store, {"state": "finished"})
    with pytest.raises(InputError, match="holds an export; name another DIR, or --overwrite it"):
        open_destination(str(tmp_path / "new"))
    assert store.exists("overlays/a.jpg")
    open_destination(str(tmp_path / "new"), overwrite=True)
    assert [entry.path for entry in store.list()] == ["export.json"]


def test_what_others_put_into_an_export_is_not_removed_with_it(tmp_path: Path) -> None:
    open_destination(str(tmp_path)).write("maps/part-000000.npz", b"1")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes.txt"):
        open_destination(str(tmp_path), overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
