"""COCO: objects and classes of an instances file, and what is wrong with one."""

import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from igcam_batch.errors import InputError
from igcam_batch.sources import Box, ImageRow, Notes, Wanted, find_layout, find_place
from igcam_batch.sources.coco import coco_rows

CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]


def image(number: int, name: str | None = None) -> dict:
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "width": 100, "height": 80}


def thing(number: int, of: int, category: int = 17, bbox: tuple = (10, 20, 30, 40), **more: object) -> dict:
    return {"id": number, "image_id": of, "category_id": category, "bbox": bbox, "iscrowd": 0, "area": 1200} | more


@pytest.fixture
def dataset(tmp_path: Path):
    """Write an instances file and the images it names: `dataset(images, annotations)`."""

    def write(images: list, annotations: list, name: str = "val2017", categories: list = CATEGORIES, **more) -> Path:
        (tmp_path / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": categories, "info": {}} | more
        (tmp_path / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
        for each in images:
            if isinstance(each.get("file_name"), str) and ".." not in each["file_name"]:
                path = tmp_path / name / each["file_name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"123")
        return tmp_path

    return write


def rows(root: Path, notes: Notes | None = None, **wanted: object) -> list[ImageRow]:
    return list(coco_rows(find_place(str(root)), Wanted(**wanted), notes or Notes()))


class TestRows:
    def test_are_the_images_with_their_objects(self, dataset):
        root = dataset([image(1), image(2), image(3)], [thing(5, 2), thing(4, 1, 18, (0, 0, 5.5, 6)), thing(6, 2, 18)])
        found = rows(root)
        assert [row.image_id for row in found] == [f"val2017/{n:012d}.jpg" for n in (1, 2, 3)]
        assert [row.uri for row in found] == [f"{root}/{row.image_id}" for row in found]
        assert [row.labels for row in found] == [("dog",), ("cat", "dog"), ()]
        assert found[0].boxes == (Box("dog", 0, 0, 5.5, 6),)
        assert found[1].boxes == (Box("cat", 10, 20, 40, 60), Box("dog", 10, 20, 40, 60))
        assert [row.size for row in found] == [3, 3, 3]

    def test_agree_with_pycocotools(self, dataset, capsys):
        root = dataset(
            [image(n) for n in range(9)], [thing(n, n % 7, 17 + n % 2, (n, 1, 2 + n, 3)) for n in range(1, 30)]
        )
        theirs = COCO(str(root / "annotations" / "instances_val2017.json"))
        for row in rows(root):
            number = int(Path(row.image_id).stem)
            annotations = theirs.loadAnns(theirs.getAnnIds([number]))
            expected = [(theirs.cats[one["category_id"]]["name"], *one["bbox"]) for one in annotations]
            assert [(b.label, b.left, b.top, b.right - b.left, b.bottom - b.top) for b in row.boxes] == expected

    def test_the_file_can_be_named_itself(self, dataset):
        root = dataset([image(1)], [thing(4, 1)])
        assert rows(root / "annotations" / "instances_val2017.json") == rows(root)

    @pytest.mark.parametrize("where", ["train2017", "images/train2017", "images", ""])
    def test_images_are_found_where_people_put_them(self, dataset, tmp_path, where):
        dataset([image(1, "a.jpg")], [], name="train2017")
        (tmp_path / "train2017" / "a.jpg").unlink()
        (tmp_path / where).mkdir(parents=True, exist_ok=True)
        (tmp_path / where / "a.jpg").touch()
        assert [row.image_id for row in rows(tmp_path)] == [f"{where}/a.jpg".lstrip("/")]

    def test_an_export_with_its_images_beside_it_is_a_dataset(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        content = {"images": [image(1, "a.jpg")], "annotations": [thing(1, 1)], "categories": CATEGORIES}
        (tmp_path / "_annotations.coco.json").write_text(json.dumps(content))
        assert [(row.image_id, row.labels) for row in rows(tmp_path)] == [("a.jpg", ("cat",))]
        assert find_layout(find_place(str(tmp_path))) == "coco"

    def test_crowds_count_unless_they_are_dropped(self, dataset):
        root = dataset([image(1)], [thing(4, 1), thing(5, 1, 18, iscrowd=1)])
        assert [row.labels for row in rows(root)] == [("cat", "dog")]
        assert [row.labels for row in rows(root, difficult=False)] == [("cat",)]

    def test_outlines_are_carried_where_they_are_wanted(self, dataset):
        polygon = [[1, 2, 3, 4, 5, 6]]
        root = dataset([image(1)], [thing(4, 1, segmentation=polygon), thing(5, 1, 18)])
        [row] = rows(root, masks=True)
        assert [box.segmentation for box in row.boxes] == [json.dumps(polygon), None]
        assert [box.segmentation for box in rows(root)[0].boxes] == [None, None]


class TestImageSets:
    def test_name_one_of_several_files(self, dataset):
        dataset([image(1)], [], name="train2017")
        root = dataset([image(2)], [], name="val2017")
        assert [row.image_id for row in rows(root, image_set="val2017")] == ["val2017/000000000002.jpg"]
        with pytest.raises(
            InputError, match=r"several instances files; --image-set names one; .*: train2017, val2017$"
        ):
            rows(root)
        with pytest.raises(InputError, match=r"^--image-set test: .*there are: train2017, val2017$"):
            rows(root, image_set="test")

    def test_without_any_file_say_what_is_needed(self, tmp_path):
        with pytest.raises(InputError, match=r"--layout coco needs annotations/instances_NAME.json"):
            rows(tmp_path)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("images", "annotations", "categories", "said"),
        [
            ([image(1), image(1, "b.jpg")], [], CATEGORIES, "1 ids of images are there twice; the first: 1"),
            ([image(1)], [thing(7, 1), thing(7, 1)], CATEGORIES, "1 ids of annotations are there twice; the first: 7"),
            ([image(1)], [], [*CATEGORIES, CATEGORIES[0]], "1 ids of categories are there twice; the first: 17"),
            ([{"id": 1}], [], CATEGORIES, "images.0.file_name"),
            ([image(1)], [thing(7, 1, bbox=(1, 2, 3))], CATEGORIES, "annotations.0.bbox"),
            ([image(1)], [thing(7, 1, bbox="left")], CATEGORIES, "annotations.0.bbox"),
            ([image(1)], [thing(7, 1), {"id": 8}], CATEGORIES, "annotations.1.image_id"),
        ],
    )
    def test_a_file_that_contradicts_itself_is_named_with_the_place(
        self, dataset, images, annotations, categories, said
    ):
        root = dataset(images, annotations, categories=categories)
        with pytest.raises(InputError) as caught:
            rows(root)
        assert str(caught.value).startswith(f"{root}/annotations/instances_val2017.json: ")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"images": 3}', "\x00\x01"])
    def test_what_is_no_instances_file_is_named(self, tmp_path, text):
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations" / "instances_x.json").write_text(text)
        with pytest.raises(InputError, match=f"^{tmp_path}/annotations/instances_x.json: not COCO's instances: "):
            rows(tmp_path)

    def test_images_that_are_nowhere_are_looked_for_in_the_usual_places(self, dataset):
        root = dataset([image(1)], [])
        (root / "val2017" / f"{1:012d}.jpg").unlink()
        with pytest.raises(
            InputError, match=rf"none of its first 1 images is there, as 0+1.jpg; looked in {root}/val2017"
        ):
            rows(root)


class TestOddities:
    def test_annotations_of_nothing_known_are_told_and_left_out(self, dataset):
        root = dataset([image(1)], [thing(4, 1), thing(5, 99), thing(6, 1, category=55)])
        notes = Notes()
        [row] = rows(root, notes)
        uri = f"{root}/annotations/instances_val2017.json"
        assert row.labels == ("cat",)
        assert notes.lines() == [
            f"annotations are of images that the file does not have: 1; the first: {uri}: annotation 5: image 99",
            f"annotations have no category and are left out: 1; the first: {uri}: annotation 6: category 55",
        ]

    @pytest.mark.parametrize(
        "bbox", [(5, 5, 0, 9), (5, 5, 9, -1), (100, 0, 5, 5), (0, 81, 5, 5), (-9, 0, 5, 5)], ids=str
    )
    def test_a_box_without_area_in_its_image_is_left_out_and_told(self, dataset, bbox):
        root = dataset([image(1)], [thing(4, 1, 18, bbox), thing(5, 1)])
        notes = Notes()
        [row] = rows(root, notes)
        assert (row.labels, [box.label for box in row.boxes]) == (("dog", "cat"), ["cat"])
        [line] = notes.lines()
        assert line.startswith("boxes have no area in their image and are left out: 1; the first: ")
        assert "instances_val2017.json: annotation 4 of 000000000001.jpg: bbox" in line

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg"])
    def test_a_file_name_that_climbs_out_is_a_failure_of_that_image(self, dataset, name):
        root = dataset([image(1), image(2, name)], [])
        fine, climbing = rows(root)
        assert fine.problem is None
        assert climbing.problem is not None
        assert climbing.problem.stage == "read"
        assert "instances_val2017.json: image 2: its file name climbs out" in climbing.problem.error

    def test_an_image_that_is_missing_is_planned_and_fails_when_it_is_read(self, dataset):
        root = dataset([image(1), image(2)], [])
        (root / "val2017" / f"{2:012d}.jpg").unlink()
        there, missing = rows(root)
        assert (there.size, missing.size) == (3, None)
        assert missing.uri == f"{root}/val2017/{2:012d}.jpg"
