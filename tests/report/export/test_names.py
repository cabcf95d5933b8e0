"""What files of an export are called: no name of an image leads out of DIR."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igcam_batch.report.export.names import EXPORT, file_name, plain_name

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


@given(st.text(), st.text(), st.sampled_from(["", ".jpg", ".jpeg", ".webp"]))
def test_every_name_is_known_as_one_of_an_exports(image_id: str, method: str, suffix: str) -> None:
    for path in (
        f"overlays/{plain_name(method)}/000000/{file_name(image_id, '-3.jpg')}",
        f"fields/{plain_name(method).replace('-', '_')}_2/1234567/{file_name(image_id, '.png')}",
        f"data/000012/{file_name(image_id, suffix)}",
        f"boxes/{plain_name(method)}.results.json",
    ):
        assert EXPORT.files.fullmatch(path)
