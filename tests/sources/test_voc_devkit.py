"""A whole VOCdevkit: years, image sets, difficult objects, masks, and what is odd about any of them."""

from pathlib import Path

import pytest

from igcam_batch.errors import InputError
from igcam_batch.sources import ImageRow, Notes, Wanted, find_layout, find_place
from igcam_batch.sources.voc import voc_rows, years
from igcam_batch.storage import open_store


def thing(name: str, *sides: float, difficult: int = 0) -> str:
    boxed = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{boxed}</bndbox></object>"


CAT, DOG, HARD_COW = thing("cat", 1, 1, 9, 9), thing("dog", 2, 2, 8, 8), thing("cow", 3, 3, 9, 9, difficult=1)


@pytest.fixture
def devkit(tmp_path: Path):
    """Make years of images, each with the objects of its annotation: `devkit(2007, a=CAT + DOG)`."""

    def make(year: int | None, under: str = "", **objects: str) -> Path:
        root = tmp_path / under / (f"VOC{year}" if year else "")
        for place in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationClass"):
            (root / place).mkdir(parents=True, exist_ok=True)
        for name, found in objects.items():
            (root / "JPEGImages" / f"{name}.jpg").touch()
            size = "<size><width>10</width><height>12</height></size>"
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{found}</annotation>")
        return root

    return make


def rows(root: Path, notes: Notes | None = None, **wanted: object) -> list[ImageRow]:
    return list(voc_rows(open_store(str(root)), Wanted(**wanted), notes or Notes()))


class TestYears:
    @pytest.mark.parametrize("under", ["", "VOCdevkit"])
    def test_are_found_below_the_devkit_or_beside_it(self, devkit, tmp_path, under):
        devkit(2007, under, a=CAT)
        devkit(2012, under, b=DOG)
        prefix = f"{under}/" if under else ""
        assert years(open_store(str(tmp_path))) == [f"{prefix}VOC2007/", f"{prefix}VOC2012/"]
        assert [row.image_id for row in rows(tmp_path)] == [
            f"{prefix}VOC2007/JPEGImages/a.jpg",
            f"{prefix}VOC2012/JPEGImages/b.jpg",
        ]
        assert find_layout(find_place(str(tmp_path))) == "voc"

    def test_the_directory_of_one_year_is_a_dataset_too(self, devkit):
        root = devkit(2007, a=CAT)
        assert [row.image_id for row in rows(root)] == ["JPEGImages/a.jpg"]

    def test_a_directory_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"--layout voc needs JPEGImages/ and Annotations/"):
            rows(tmp_path)


class TestImageSets:
    def test_name_the_images_and_their_order(self, devkit, tmp_path):
        root = devkit(2007, a=CAT, b=DOG, c=CAT)
        (root / "ImageSets" / "Main" / "test.txt").write_text("c\na\n\n")
        assert [row.image_id for row in rows(tmp_path, image_set="test")] == [
            "VOC2007/JPEGImages/c.jpg",
            "VOC2007/JPEGImages/a.jpg",
        ]

    def test_of_a_class_are_the_images_that_show_it(self, devkit):
        root = devkit(2007, a=CAT, b=DOG, c=CAT)
        (root / "ImageSets" / "Main" / "cat_test.txt").write_text("a  1\nb -1\nc  0\n")
        assert [row.image_id[-5:] for row in rows(root, image_set="cat_test")] == ["a.jpg", "c.jpg"]

    def test_of_several_years_are_told_apart_by_the_year(self, devkit, tmp_path):
        for year in (2007, 2012):
            root = devkit(year, a=CAT)
            (root / "ImageSets" / "Main" / "val.txt").write_text("a")
        assert [row.image_id for row in rows(tmp_path, image_set="2012/val")] == ["VOC2012/JPEGImages/a.jpg"]
        with pytest.raises(
            InputError, match=r"^--image-set val: several years have it; name one of 2007/val, 2012/val$"
        ):
            rows(tmp_path, image_set="val")

    def test_of_a_year_are_not_those_of_another_that_was_named_itself(self, devkit):
        root = devkit(2012, a=CAT)
        (root / "ImageSets" / "Main" / "test.txt").write_text("a")
        with pytest.raises(InputError, match=r"^--image-set 2007/test: .*/VOC2012 has no such image set"):
            rows(root, image_set="2007/test")
        assert len(rows(root, image_set="2012/test")) == 1

    @pytest.mark.parametrize("name", ["nonsense", "2011/test", "../../etc/passwd", "a/b/c"])
    def test_that_are_not_there_are_refused_with_those_that_are(self, devkit, tmp_path, name):
        root = devkit(2007, a=CAT)
        (root / "ImageSets" / "Main" / "test.txt").write_text("a")
        (root / "ImageSets" / "Main" / "cat_test.txt").write_text("a 1")
        with pytest.raises(InputError, match=rf"^--image-set {name}: ") as caught:
            rows(tmp_path, image_set=name)
        assert "are: test" in str(caught.value) or "NAME or YEAR/NAME" in str(caught.value)

    def test_may_name_an_image_that_is_missing_which_is_planned_and_fails_when_it_is_read(self, devkit):
        root = devkit(2007, a=CAT)
        (root / "ImageSets" / "Main" / "test.txt").write_text("a\ngone")
        assert [row.uri for row in rows(root, image_set="test")][1] == f"{root}/JPEGImages/gone.jpg"


class TestDifficultObjects:
    def test_count_unless_they_are_dropped(self, devkit):
        root = devkit(2007, a=CAT + HARD_COW)
        [kept], [dropped] = rows(root), rows(root, difficult=False)
        assert (kept.labels, [box.label for box in kept.boxes]) == (("cat", "cow"), ["cat", "cow"])
        assert (dropped.labels, [box.label for box in dropped.boxes]) == (("cat",), ["cat"])


class TestMasks:
    def test_are_named_where_they_are_wanted_and_there(self, devkit):
        root = devkit(2007, a=CAT, b=DOG)
        (root / "SegmentationClass" / "b.png").touch()
        assert [row.mask_uri for row in rows(root, masks=True)] == [None, f"{root}/SegmentationClass/b.png"]
        assert [row.mask_uri for row in rows(root)] == [None, None]


class TestOddities:
    @pytest.mark.parametrize(
        "sides", [(3, 3, 3, 2), (5, 5, 4, 9), (20, 1, 30, 9), (1, 13, 9, 20), (-9, -9, -3, -3)], ids=str
    )
    def test_a_box_without_area_in_its_image_is_left_out_and_told(self, devkit, sides):
        root = devkit(2007, a=CAT + thing("dog", *sides), b=thing("dog", *sides))
        notes = Notes()
        first, second = rows(root, notes)
        assert [box.label for box in first.boxes] == ["cat"]
        assert (first.labels, second.labels, second.boxes) == (("cat", "dog"), ("dog",), ())
        shown = ", ".join(f"{side:g}" for side in sides)
        assert notes.lines() == [
            "boxes have no area in their image and are left out: 2; the first: "
            f"{root}/Annotations/a.xml: object 'dog': bndbox {shown}"
        ]

    def test_a_box_that_reaches_over_the_border_is_kept(self, devkit):
        root = devkit(2007, a=thing("cat", 0, 0, 11, 14))
        notes = Notes()
        [row] = rows(root, notes)
        assert len(row.boxes) == 1
        assert notes.lines() == []

    def test_an_annotation_without_image_and_an_image_without_annotation_are_told(self, devkit):
        root = devkit(2007, a=CAT, b=CAT)
        (root / "JPEGImages" / "a.jpg").unlink()
        (root / "Annotations" / "b.xml").unlink()
        (root / "JPEGImages" / "c.jpg").touch()
        notes = Notes()
        assert [row.image_id for row in rows(root, notes)] == ["JPEGImages/b.jpg", "JPEGImages/c.jpg"]
        assert notes.lines() == [
            f"images have no annotation: 2; the first: {root}/JPEGImages/b.jpg",
            f"annotations have no image in JPEGImages/: 1; the first: {root}/Annotations/a.xml",
        ]

    def test_only_xml_files_are_annotations_whatever_the_case_of_their_suffix(self, devkit):
        root = devkit(2007, a=CAT, b=DOG)
        (root / "Annotations" / "a.xml").rename(root / "Annotations" / "a.XML")
        (root / "Annotations" / "b.xml").rename(root / "Annotations" / "b.txt")
        notes = Notes()
        found = rows(root, notes)
        assert [(row.labels, row.problem) for row in found] == [(("cat",), None), ((), None)]
        assert notes.lines()[0].startswith("images have no annotation: 1;")
