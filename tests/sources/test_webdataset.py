"""WebDataset: images and what is said of them, within tar files that are never extracted."""

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import pytest

from igcam_batch.errors import InputError
from igcam_batch.sources import Box, ImageRow, Notes, Part, find_layout, find_place
from igcam_batch.sources.webdataset import webdataset_rows


@pytest.fixture
def shards(tmp_path: Path):
    """Write tars of members: `shards(**{"a.tar": {"1.jpg": b"..."}})`."""

    def write(**archives: dict[str, bytes]) -> Path:
        for name, members in archives.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(tmp_path / name, "w") as tar:
                for path, data in members.items():
                    info = tarfile.TarInfo(path)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return tmp_path

    return write


def rows(root: Path, notes: Notes | None = None) -> list[ImageRow]:
    return list(webdataset_rows(find_place(str(root)), notes or Notes()))


class TestRows:
    def test_say_where_in_the_tar_the_bytes_of_an_image_are(self, shards):
        root = shards(
            **{"train/b.tar": {"1.jpg": b"third"}, "train/a.tar": {"1.jpg": b"first", "dir/2.PNG": b"second"}}
        )
        found = rows(root)
        assert [row.image_id for row in found] == ["train/a.tar/1.jpg", "train/a.tar/dir/2.PNG", "train/b.tar/1.jpg"]
        assert found[1].uri == f"{root}/train/a.tar#dir/2.PNG"
        for row, data in zip(found, (b"first", b"second", b"third"), strict=True):
            assert isinstance(row.part, Part)
            assert row.part.offset is not None
            assert Path(row.part.file).read_bytes()[row.part.offset :][: row.size] == data
        assert find_layout(find_place(str(root))) == "webdataset"

    def test_take_class_and_boxes_from_the_members_beside_the_image(self, shards):
        box = {"label": "cat", "left": 1, "top": 2, "right": 3, "bottom": 4}
        root = shards(
            **{
                "a.tar": {
                    "1.cls": b"281\n",
                    "1.jpg": b"x",
                    "2.jpg": b"x",
                    "2.json": json.dumps({"label": "cat", "boxes": [box]}).encode(),
                    "3.jpg": b"x",
                    "3.json": json.dumps({"labels": ["cat", 7], "url": "http://x"}).encode(),
                    "4.txt": b"a caption",
                    "4.jpg": b"x",
                    "5.jpg": b"x",
                    "5.json": b"[1, 2]",
                }
            }
        )
        found = rows(root)
        assert [row.labels for row in found] == [("281",), ("cat",), ("cat", "7"), (), ()]
        assert found[1].boxes == (Box("cat", 1, 2, 3, 4),)
        assert all(row.problem is None for row in found)

    def test_agree_with_how_webdataset_groups_members(self, shards):
        """By all before the first dot of the file's name: `1.left.jpg` and `1.right.jpg` are of one sample."""
        root = shards(
            **{"a.tar": {"d.x/1.left.jpg": b"x", "d.x/1.right.jpg": b"x", "d.x/1.cls": b"3", "d.x/2.jpg": b"x"}}
        )
        assert [row.labels for row in rows(root)] == [("3",), ("3",), ()]

    def test_leave_out_what_is_no_file_or_no_image(self, shards, tmp_path):
        root = shards(**{"a.tar": {"1.jpg": b"x", "readme.txt": b"x", ".2.jpg": b"x"}})
        with tarfile.open(root / "a.tar", "a") as tar:
            link = tarfile.TarInfo("3.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        assert [row.image_id for row in rows(root)] == ["a.tar/1.jpg"]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
    @pytest.mark.parametrize("name", ["1.jpg", "1.cls", "1.json"])
    def test_follow_no_link_whatever_it_is_called(self, shards, tmp_path, kind, name):
        (tmp_path / "secret").write_text("secret")
        root = shards(**{"a.tar": {"0.jpg": b"x", "1.png": b"x"}})
        with tarfile.open(root / "a.tar", "a") as tar:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, str(tmp_path / "secret") if kind == tarfile.SYMTYPE else "0.jpg"
            tar.addfile(link)
        assert [(row.image_id, row.labels) for row in rows(root)] == [("a.tar/0.jpg", ()), ("a.tar/1.png", ())]

    def test_unpickle_nothing(self, shards, tmp_path):
        class Program:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        hostile = pickle.dumps(Program(), protocol=2)
        array = (
            b"\x93NUMPY\x01\x00\x46\x00"
            + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(70)
            + hostile
        )
        members = {f"1.{kind}": hostile for kind in ("pickle", "pkl", "pyd", "pth", "pt", "cls", "json")}
        [row] = rows(shards(**{"a.tar": members | {"1.jpg": hostile, "1.npy": array, "1.npz": array}}))
        assert row.image_id == "a.tar/1.jpg"
        assert row.problem is not None  # of the class, which is no text
        assert not (tmp_path / "ran").exists()

    def test_pass_over_a_member_without_a_name(self, shards):
        assert [row.image_id for row in rows(shards(**{"a.tar": {".": b"x", "1.jpg": b"x"}}))] == ["a.tar/1.jpg"]

    def test_take_no_size_from_a_sparse_member_on_trust(self, shards):
        root = shards(**{"a.tar": {"0.jpg": b"x"}})
        with tarfile.open(root / "a.tar", "a", format=tarfile.PAX_FORMAT) as tar:
            sparse = tarfile.TarInfo("1.jpg")
            sparse.pax_headers = {"GNU.sparse.size": str(10**15), "GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1"}
            sparse.size = 1
            tar.addfile(sparse, io.BytesIO(b"x"))
        assert [row.image_id for row in rows(root)] == ["a.tar/0.jpg"]

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("1.json", b"[" * 200_000),
            ("1.json", b"{"),
            ("1.json", b"\xff"),
            ("1.json", b'{"boxes": [{"label": "cat"}]}'),
            ("1.json", b'{"boxes": 3}'),
            ("1.cls", b"\xff\xfe"),
            ("1.cls", b"9" * (2 << 20)),
        ],
    )
    def test_what_is_said_and_cannot_be_read_costs_that_image_alone(self, shards, name, data):
        root = shards(**{"a.tar": {"1.jpg": b"x", name: data, "2.jpg": b"x", "2.cls": b"5"}})
        broken, fine = rows(root)
        assert broken.problem is not None
        assert broken.problem.stage == "annotation"
        assert broken.problem.error.startswith(f"{root}/a.tar: {name}: ")
        assert (fine.problem, fine.labels) == (None, ("5",))


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["../1.jpg", "/etc/1.jpg", "a/../../1.jpg"])
    def test_a_member_whose_path_climbs_out(self, shards, name):
        root = shards(**{"a.tar": {"0.jpg": b"x", name: b"x"}})
        with pytest.raises(InputError, match=rf"^{root}/a.tar: member '{name}': its path climbs out of the archive"):
            rows(root)

    @pytest.mark.parametrize(
        "data", [b"", b"not a tar, whatever it is called" * 50, b"\x1f\x8b\x08\x00" + b"\x00" * 600]
    )
    def test_what_is_no_tar(self, tmp_path, data):
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(InputError, match=rf"^{tmp_path}/a.tar: no tar file, or a damaged one"):
            rows(tmp_path)

    def test_a_tar_that_ends_early(self, shards):
        root = shards(**{"a.tar": {"1.jpg": b"x" * 5000, "2.jpg": b"x" * 5000}})
        data = (root / "a.tar").read_bytes()
        (root / "a.tar").write_bytes(data[: 5000 + 512 + 300])
        with pytest.raises(InputError, match=r"a.tar: no tar file, or a damaged one"):
            rows(root)

    def test_a_directory_without_any(self, tmp_path):
        with pytest.raises(InputError, match=r"needs files named \*.tar"):
            rows(tmp_path)


class TestSamples:
    def test_whose_names_have_dots_keep_their_own_labels(self, shards):
        members = {"2020.01_a.jpg": b"a", "2020.01_a.cls": b"0", "2020.02_b.jpg": b"b", "2020.02_b.cls": b"1"}
        assert [row.labels for row in rows(shards(**{"a.tar": members}))] == [("0",), ("1",)]

    def test_have_no_image_in_what_goes_with_their_image(self, shards):
        found = rows(shards(**{"a.tar": {"1.jpg": b"a", "1.seg.png": b"b", "1.cls": b"7"}}))
        assert [(row.image_id, row.labels) for row in found] == [("a.tar/1.jpg", ("7",))]

    def test_that_are_sorted_by_kind_are_told(self, shards):
        notes = Notes()
        found = rows(shards(**{"a.tar": {"1.jpg": b"a", "2.jpg": b"b", "1.cls": b"0", "2.cls": b"1"}}), notes)
        assert [row.labels for row in found] == [(), ()]
        [line] = notes.lines()
        assert line.startswith("annotations stand apart from an image of their name and are left out: 2;")
        assert line.endswith("a.tar: 1.cls")

    def test_leave_out_boxes_without_area_and_labels_that_are_none(self, shards):
        notes = Notes()
        box = {"label": "cat", "left": 4, "top": 0, "right": 2, "bottom": 9}
        said = json.dumps({"labels": ["cat", None], "boxes": [box]}).encode()
        [row] = rows(shards(**{"a.tar": {"1.jpg": b"a", "1.json": said}}), notes)
        assert (row.labels, row.boxes) == (("cat",), ())
        assert "boxes have no area in their image and are left out: 1;" in notes.lines()[0]
