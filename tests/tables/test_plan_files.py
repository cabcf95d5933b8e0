"""The frozen plan: what a source says of its images, kept as it was, and read in part."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from igcam_batch.errors import InputError
from igcam_batch.sources import MANIFEST, Box, ImageRow, Part, Problem, manifest_table
from igcam_batch.sources.schema import in_tables
from igcam_batch.storage import LocalStore, open_store
from igcam_batch.tables import plan
from igcam_batch.tables.plan import Planned, find_in_plan, read_plan, write_plan


def image(number: int) -> ImageRow:
    boxes = tuple(Box(f"class {k}", k, 0.5, 10.25 + k, 20, None if k == 0 else "[]") for k in range(number % 3))
    return ImageRow(f"{number}.jpg", f"/data/{number}.jpg", number, 1e9 + 0.5, (f"label {number % 4}",), boxes)


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> LocalStore:
    """An OUTPUT whose plan has 3 rows in a group and 6 in a file, so that a few images need several of each."""
    monkeypatch.setattr(plan, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(plan, "ROWS_PER_FILE", 6)
    return open_store(str(tmp_path))


class TestManifest:
    def test_keeps_all_that_a_row_says(self):
        gone = Problem("read", "gone")
        table = manifest_table(
            [
                image(2),
                ImageRow(
                    "x",
                    "/x",
                    5,
                    0.25,
                    mask_uri="/x.png",
                    part=Part("/x.tar", 3, size=9, etag='"e"'),
                    problem=gone,
                    etag='"f"',
                ),
            ]
        )
        assert table.schema.equals(MANIFEST)
        assert table.to_pylist() == [
            {
                "image_id": "2.jpg",
                "uri": "/data/2.jpg",
                "size": 2,
                "modified": 1e9 + 0.5,
                "etag": None,
                "labels": ["label 2"],
                "boxes": [
                    {"left": 0, "top": 0.5, "right": 10.25, "bottom": 20, "label": "class 0", "segmentation": None},
                    {"left": 1, "top": 0.5, "right": 11.25, "bottom": 20, "label": "class 1", "segmentation": "[]"},
                ],
                "mask_uri": None,
                "part": None,
                "problem": None,
            },
            {
                "image_id": "x",
                "uri": "/x",
                "size": 5,
                "modified": 0.25,
                "etag": '"f"',
                "labels": [],
                "boxes": [],
                "mask_uri": "/x.png",
                "part": {"file": "/x.tar", "offset": 3, "row": None, "column": None}
                | {"size": 9, "modified": None, "etag": '"e"'},
                "problem": {"stage": "read", "error": "gone"},
            },
        ]

    def test_of_no_images_has_the_schema(self):
        assert manifest_table([]).schema.equals(MANIFEST)


class TestPlan:
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 12, 20])
    def test_any_range_of_rows_is_read_back(self, store, count):
        rows = [image(number) for number in range(count)]
        assert write_plan(store, in_tables(iter(rows))).images == count
        for start in range(count):
            for stop in range(start + 1, count + 1):
                assert read_plan(store, start, stop).equals(manifest_table(rows[start:stop]))

    def test_has_as_many_files_as_it_needs(self, store):
        write_plan(store, in_tables(image(number) for number in range(13)))
        assert [entry.path for entry in store.list("plan")] == [f"plan/part-{n:05d}.parquet" for n in range(3)]

    def test_says_how_many_images_and_which_labels(self, store):
        planned = write_plan(store, in_tables(image(number) for number in range(7, 0, -1)))
        assert planned == Planned(7, {"label 0": "4.jpg", "label 1": "5.jpg", "label 2": "6.jpg", "label 3": "7.jpg"})
        assert list(planned.labels) == sorted(planned.labels)

    def test_of_no_images_writes_nothing(self, store):
        assert write_plan(store, []) == Planned(0)
        assert list(store.list()) == []

    def test_replaces_a_longer_one_in_full(self, store):
        write_plan(store, in_tables(image(number) for number in range(20)))
        write_plan(store, in_tables([image(99)]))
        assert [entry.path for entry in store.list("plan")] == ["plan/part-00000.parquet"]
        assert read_plan(store, 0, 1)["image_id"].to_pylist() == ["99.jpg"]

    def test_in_another_directory_leaves_the_first_alone(self, store):
        write_plan(store, in_tables([image(1)]))
        write_plan(store, in_tables([image(2), image(3)]), "plan-2")
        assert read_plan(store, 0, 1)["image_id"].to_pylist() == ["1.jpg"]
        assert read_plan(store, 1, 2, "plan-2")["image_id"].to_pylist() == ["3.jpg"]

    def test_holds_no_more_than_a_file_of_a_source_in_memory(self, store):
        """Each file is there before the source is asked for the next one's rows."""

        def source():
            for number in range(18):
                if number % 6 == 0:
                    assert len(list(store.list("plan"))) == number // 6
                yield manifest_table([image(number)])

        write_plan(store, source())

    def test_names_in_any_script_are_kept(self, store):
        row = ImageRow("猫/Ä b'\"\n.jpg", "/猫/Ä b'\"\n.jpg", 1, 0.0, ("猫",))
        write_plan(store, in_tables([row]))
        assert read_plan(store, 0, 1).equals(manifest_table([row]))

    def test_an_image_whose_name_is_no_utf8_is_planned_as_one_that_cannot_be_read(self, store):
        name = b"\xff.jpg".decode("utf-8", "surrogateescape")
        write_plan(store, in_tables([ImageRow(name, f"/{name}", 1, 0.0), image(1)]))
        odd, fine = read_plan(store, 0, 2).to_pylist()
        assert (odd["image_id"], odd["problem"]) == (
            "\\udcff.jpg",
            {"stage": "read", "error": "the file name is not UTF-8"},
        )
        assert fine["problem"] is None

    @pytest.mark.parametrize("ids", [["a", "b", "a"], ["a"] * 20, [*map(str, range(20)), "3"]], ids=len)
    def test_two_images_of_one_id_are_refused_by_name_and_number(self, store, ids):
        first, second = next((ids.index(one), n) for n, one in enumerate(ids) if one in ids[:n])
        with pytest.raises(InputError, match=rf"^image_id {ids[second]}: images {first + 1} and {second + 1} of INPUT"):
            write_plan(store, in_tables(ImageRow(one, f"/{n}.jpg") for n, one in enumerate(ids)))

    def test_ids_that_only_hash_alike_are_not_the_same(self, store, monkeypatch):
        monkeypatch.setattr(plan, "_hashes", lambda group: np.zeros(len(group), dtype=np.int64))
        assert write_plan(store, in_tables(image(number) for number in range(9))).images == 9

    def test_columns_that_a_dataset_carries_along_are_kept(self, store):
        carried = [pa.field("camera", pa.string()), pa.field("taken", pa.timestamp("us"))]
        rows = manifest_table([image(n) for n in range(8)])
        values = pa.array([{"camera": f"c{n}", "taken": n} for n in range(8)], pa.struct(carried))
        table = rows.append_column(pa.field("carried", pa.struct(carried)), values)
        write_plan(store, [table.slice(0, 5), table.slice(5)])
        assert read_plan(store, 2, 8).equals(table.slice(2))


def test_images_are_found_by_their_ids_wherever_they_lie(store) -> None:
    write_plan(store, [manifest_table(image(number) for number in range(17))])
    wanted = ["16.jpg", "0.jpg", "7.jpg", "8.jpg", "there is none", "7.jpg"]
    found = find_in_plan(store, wanted, 17)
    assert list(found) == ["0.jpg", "7.jpg", "8.jpg", "16.jpg"]
    assert list(found.values()) == [read_plan(store, number, number + 1).to_pylist()[0] for number in (0, 7, 8, 16)]
    assert find_in_plan(store, [], 17) == {}


def test_a_plan_that_a_disk_has_damaged_is_named(store: LocalStore) -> None:
    write_plan(store, [manifest_table(image(number) for number in range(8))])
    path = Path(store.root) / "plan" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert len(read_plan(store, 0, 6)) == 6
    with pytest.raises(InputError, match=rf"^{path}: is no whole Parquet file .*; a plan cannot be made a second time"):
        read_plan(store, 5, 8)
