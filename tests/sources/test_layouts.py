"""Which files of a directory are images, and what their places say of their classes."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawings import picture

from igcam_batch.sources import SUFFIXES, ImageRow, Notes, find_layout, find_place, open_source
from igcam_batch.sources.folder import folder_rows, imagefolder_rows
from igcam_batch.sources.rows import is_unread
from igcam_batch.storage import LocalStore, open_store


@pytest.fixture
def dataset(tmp_path: Path):
    """Make empty files: no source looks inside an image."""

    def make(*names: str) -> LocalStore:
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"123")
        (tmp_path / "data").mkdir(exist_ok=True)
        return open_store(str(tmp_path / "data"))

    return make


def ids(rows) -> list[str]:
    return [row.image_id for row in rows]


class TestFolder:
    def test_takes_images_at_any_depth_in_a_stable_order(self, dataset):
        store = dataset("b.jpg", "a/2.png", "a/10.png", "a/b/c.webp")
        assert ids(folder_rows(store)) == ["a/10.png", "a/2.png", "a/b/c.webp", "b.jpg"]

    def test_takes_suffixes_in_any_case_and_nothing_that_is_no_image(self, dataset):
        store = dataset("a.JPG", "b.Jpeg", "c.txt", "d.xml", "e", "jpg", "f.jpg.txt", "g.PNG", ".h.jpg", "i/.j/k.jpg")
        assert ids(folder_rows(store)) == ["a.JPG", "b.Jpeg", "g.PNG"]

    @pytest.mark.parametrize(
        ("layout", "at", "first"),
        [
            ("folder", "", "deep/y.jp2"),
            ("imagefolder", "cat/", "cat/deep/y.jp2"),
            ("voc", "JPEGImages/", "JPEGImages/deep/y.jp2"),
        ],
    )
    def test_pictures_that_are_not_read_are_noted_and_what_is_no_picture_is_not(self, dataset, layout, at, first):
        beside = "a.txt a.json a.csv a.xml a.md a .b.heic .hidden/c.heic features.parquet sums.sha256 a.jpg.part"
        names = ["a.jpg", "x.HEIC", "deep/y.jp2", "z.mov", *beside.split()]
        store = dataset("Annotations/a.xml", *(at + name for name in names))
        source = open_source(find_place(store.root), layout)
        assert [row["image_id"] for table in source.tables for row in table.to_pylist()] == [f"{at}a.jpg"]
        said = "pictures and videos of formats that are not read are left out: 3; the first:"
        assert source.notes.lines() == [f"{said} {store.root}/{first}"]

    def test_no_suffix_is_both_read_and_not(self):
        assert not any(is_unread(f"a{suffix}") for suffix in SUFFIXES)

    def test_takes_every_suffix_that_torchvision_takes(self):
        from torchvision.datasets.folder import IMG_EXTENSIONS

        assert set(IMG_EXTENSIONS) <= SUFFIXES

    def test_a_row_says_where_the_image_is_and_how_large_the_file(self, dataset):
        store = dataset("a/b.jpg")
        [entry] = store.list()
        assert list(folder_rows(store)) == [
            ImageRow("a/b.jpg", f"{store.root}/a/b.jpg", 3, entry.modified, labels=(), boxes=())
        ]


class TestImageFolder:
    def test_labels_an_image_with_the_directory_below_the_root_that_holds_it(self, dataset):
        store = dataset("cat/1.jpg", "cat/more/2.jpg", "dog/1.jpg", "unlabelled.jpg", "dog/notes.txt")
        assert [(row.image_id, row.labels) for row in imagefolder_rows(store)] == [
            ("cat/1.jpg", ("cat",)),
            ("cat/more/2.jpg", ("cat",)),
            ("dog/1.jpg", ("dog",)),
        ]

    def test_agrees_with_torchvision(self, dataset):
        from torchvision.datasets import ImageFolder

        store = dataset("n02/a.png", "n02/sub/b.JPEG", "n01/c.jpg", "n 3/d.webp", "n02/readme.md")
        theirs = ImageFolder(store.root)
        ours = {row.uri: row.labels for row in imagefolder_rows(store)}
        assert ours == {path: (theirs.classes[index],) for path, index in theirs.samples}


class TestFindLayout:
    @pytest.mark.parametrize(
        ("files", "layout"),
        [
            (["a.jpg", "b.png"], "folder"),
            (["a.jpg", "cat/b.jpg"], "folder"),
            (["cat/a.jpg", "dog/b.jpg"], "imagefolder"),
            (["cat/a.jpg", "readme.txt"], "imagefolder"),
            (["JPEGImages/a.jpg", "Annotations/a.xml"], "voc"),
            (["JPEGImages/a.jpg", "Annotations/a.xml", "stray.jpg"], "voc"),
            (["JPEGImages/a.jpg"], "imagefolder"),
            (["JPEGImages/a.jpg", "Annotations"], "imagefolder"),
            (["readme.txt"], "folder"),
            ([], "folder"),
        ],
    )
    def test_knows_a_layout_by_its_files(self, dataset, files, layout):
        assert find_layout(find_place(dataset(*files).root)) == layout

    @pytest.mark.parametrize(
        "files", [["a.jpg"], ["cat/a.jpg"], ["JPEGImages/a.jpg", "Annotations/b.xml"]], ids=["folder", "classes", "voc"]
    )
    def test_auto_is_the_layout_that_is_found(self, dataset, files):
        place = find_place(dataset(*files).root)
        found, named = (
            [row for table in open_source(place, layout).tables for row in table.to_pylist()]
            for layout in ("auto", find_layout(place))
        )
        assert found == named != []

    def test_sees_past_what_lies_beside_the_images(self, tmp_path):
        image = io.BytesIO()
        picture(0).save(image, "PNG")
        hub, classes = tmp_path / "hub", tmp_path / "classes"
        for path in (hub / "assets" / "logo.png", classes / "cat" / "a.png"):
            path.parent.mkdir(parents=True)
            path.write_bytes(image.getvalue())
        (hub / "data").mkdir()
        pq.write_table(pa.table({"image": [image.getvalue()]}), hub / "data" / "train.parquet")
        pq.write_table(pa.table({"feature": [1.0]}), classes / "features.parquet")
        notes = Notes()
        assert find_layout(find_place(str(hub)), notes) == "parquet"
        [line] = notes.lines()
        assert line.startswith("images lie beside the parquet files and are left out (--layout folder takes them): 1;")
        assert find_layout(find_place(str(classes))) == "imagefolder"

    def test_says_that_classes_are_lost_where_images_lie_above_them(self, dataset):
        notes = Notes()
        assert find_layout(find_place(dataset("banner.png", "cat/a.png", "dog/b.png").root), notes) == "folder"
        [line] = notes.lines()
        assert line.startswith("images in sub-directories have no label (--layout imagefolder gives them theirs): 2;")
