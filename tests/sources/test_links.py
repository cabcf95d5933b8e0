"""Links and names that lead out of INPUT, in every layout that is a directory on disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import as_coco, as_voc
from drawings import picture

from igcam_batch.errors import InputError
from igcam_batch.sources import Place, Source, boundary, find_place, open_source

SAID = "links lead out of INPUT and were left out; --follow-links takes them"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory beside INPUT."""
    (tmp_path / "elsewhere").mkdir()
    for name in ("1.png", "2.png"):
        picture(1).save(tmp_path / "elsewhere" / name)
    return tmp_path / "elsewhere"


def read(place: Place, layout: str = "auto") -> tuple[list[str], list[str]]:
    """Ids and notes."""
    source: Source = open_source(place, layout)  # type: ignore[arg-type]
    ids = [row["image_id"] for table in source.tables for row in table.to_pylist()]
    return ids, source.notes.lines()


def test_links_that_lead_out_are_counted_each_once_and_one_is_named(
    pictures: Callable[..., Path], elsewhere: Path
) -> None:
    images = pictures("a.png", "sub/b.png")
    (images / "c.png").symlink_to(elsewhere / "1.png")
    (images / "d.png").symlink_to("a.png")
    (images / "more").symlink_to(elsewhere)
    (images / "sub" / "e.png").symlink_to("../../elsewhere/2.png")
    found, said = read(find_place(str(images)))
    assert found == ["a.png", "d.png", "sub/b.png"]
    assert said[-1] == f"{SAID}: 3; the first: {images}/c.png"
    ids, notes = read(find_place(str(images), follow_links=True))
    assert ids == ["a.png", "c.png", "d.png", "more/1.png", "more/2.png", "sub/b.png", "sub/e.png"]
    assert not any(SAID in note for note in notes)


def test_a_directory_without_links_says_nothing_of_them(pictures: Callable[..., Path]) -> None:
    assert read(find_place(str(pictures("a.png")))) == (["a.png"], [])


def test_a_class_that_is_a_link_is_left_out_or_taken_with_its_name(
    pictures: Callable[..., Path], elsewhere: Path
) -> None:
    images = pictures("cat/a.png")
    (images / "dog").symlink_to(elsewhere)
    assert read(find_place(str(images)))[0] == ["cat/a.png"]
    source = open_source(find_place(str(images), follow_links=True), "imagefolder")
    rows = [(row["image_id"], row["labels"]) for table in source.tables for row in table.to_pylist()]
    assert rows == [("cat/a.png", ["cat"]), ("dog/1.png", ["dog"]), ("dog/2.png", ["dog"])]


def test_annotations_of_voc_and_coco_are_not_read_out_of_input(tmp_path: Path, elsewhere: Path) -> None:
    voc = as_voc(tmp_path / "voc")
    xml = voc / "VOCdevkit" / "VOC2007" / "Annotations" / "1.xml"
    xml.rename(elsewhere / "1.xml")
    xml.symlink_to(elsewhere / "1.xml")
    notes = read(find_place(str(voc)))[1]
    assert any(line.startswith(f"{SAID}: 1;") for line in notes)
    assert any(line.startswith("images have no annotation: 1;") for line in notes)
    coco = as_coco(tmp_path / "coco")
    instances = coco / "annotations" / "instances_val2017.json"
    instances.rename(elsewhere / "instances.json")
    instances.symlink_to(elsewhere / "instances.json")
    with pytest.raises(InputError, match="--follow-links takes it"):
        read(find_place(str(instances)))
    assert len(read(find_place(str(instances), follow_links=True))[0]) == 3


def test_names_of_an_image_set_or_of_coco_that_climb_are_failures_before_they_are_read(tmp_path: Path) -> None:
    voc = as_voc(tmp_path / "voc")
    (voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt").write_text("1\n../../../../secret\n")
    from igcam_batch.sources import Wanted

    source = open_source(find_place(str(voc)), "voc", Wanted("test"))
    fine, climbing = [row for table in source.tables for row in table.to_pylist()]
    assert fine["problem"] is None
    assert climbing["problem"]["error"].endswith("/JPEGImages/../../../../secret.jpg climbs out")
    coco = as_coco(tmp_path / "coco")
    instances = coco / "annotations" / "instances_val2017.json"
    content = json.loads(instances.read_text())
    content["images"][1]["file_name"] = "../../../secret.png"
    instances.write_text(json.dumps(content))
    rows = [row for table in open_source(find_place(str(coco))).tables for row in table.to_pylist()]
    assert ["climbs out" in (row["problem"] or {}).get("error", "") for row in rows] == [False, True, False]


def test_the_boundary_is_the_directory_except_for_what_the_user_wrote_or_allowed(
    pictures: Callable[..., Path],
) -> None:
    images = pictures("a.png")
    assert boundary(find_place(str(images)), "folder") == str(images)
    assert boundary(find_place(str(images)), "manifest") is None
    assert boundary(find_place(str(images), follow_links=True), "folder") is None
    (images / "a.tar").touch()
    assert boundary(find_place(str(images / "a.tar")), "webdataset") is None  # it was named, link or not
    assert boundary(find_place("s3://bucket/images"), "folder") is None
