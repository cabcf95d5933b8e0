"""The frozen plan: what a source says of its images, kept as it was, and read in part."""

from pathlib import Path

import pytest

from igcam_batch.errors import InputError
from igcam_batch.sources import Box, ImageRow
from igcam_batch.storage import LocalStore, open_store
from igcam_batch.tables import MANIFEST, manifest_table, plan
from igcam_batch.tables.plan import Planned, read_plan, write_plan


def image(number: int) -> ImageRow:
    boxes = tuple(Box(f"class {k}", k, 0.5, 10.25 + k, 20) for k in range(number % 3))
    return ImageRow(f"{number}.jpg", f"/data/{number}.jpg", number, 1e9 + 0.5, (f"label {number % 4}",), boxes)


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> LocalStore:
    """An OUTPUT whose plan has 3 rows in a group and 6 in a file, so that a few images need several of each."""
    monkeypatch.setattr(plan, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(plan, "ROWS_PER_FILE", 6)
    return open_store(str(tmp_path))


class TestManifest:
    def test_keeps_all_that_a_row_says(self):
        table = manifest_table([image(2), ImageRow("x", "/x", 5, 0.25)])
        assert table.schema.equals(MANIFEST)
        assert table.to_pylist() == [
            {
                "image_id": "2.jpg",
                "uri": "/data/2.jpg",
                "size": 2,
                "modified": 1e9 + 0.5,
                "labels": ["label 2"],
                "boxes": [
                    {"left": 0, "top": 0.5, "right": 10.25, "bottom": 20, "label": "class 0"},
                    {"left": 1, "top": 0.5, "right": 11.25, "bottom": 20, "label": "class 1"},
                ],
            },
            {"image_id": "x", "uri": "/x", "size": 5, "modified": 0.25, "labels": [], "boxes": []},
        ]

    def test_of_no_images_has_the_schema(self):
        assert manifest_table([]).schema.equals(MANIFEST)


class TestPlan:
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 12, 20])
    def test_any_range_of_rows_is_read_back(self, store, count):
        rows = [image(number) for number in range(count)]
        assert write_plan(store, iter(rows)).images == count
        for start in range(count):
            for stop in range(start + 1, count + 1):
                assert read_plan(store, start, stop).equals(manifest_table(rows[start:stop]))

    def test_has_as_many_files_as_it_needs(self, store):
        write_plan(store, (image(number) for number in range(13)))
        assert [entry.path for entry in store.list("plan")] == [f"plan/part-{n:05d}.parquet" for n in range(3)]

    def test_says_how_many_images_and_which_labels(self, store):
        assert write_plan(store, (image(number) for number in range(7))) == Planned(
            7, ("label 0", "label 1", "label 2", "label 3")
        )

    def test_of_no_images_writes_nothing(self, store):
        assert write_plan(store, []) == Planned(0, ())
        assert list(store.list()) == []

    def test_replaces_a_longer_one_in_full(self, store):
        write_plan(store, (image(number) for number in range(20)))
        write_plan(store, [image(99)])
        assert [entry.path for entry in store.list("plan")] == ["plan/part-00000.parquet"]
        assert read_plan(store, 0, 1)["image_id"].to_pylist() == ["99.jpg"]

    def test_in_another_directory_leaves_the_first_alone(self, store):
        write_plan(store, [image(1)])
        write_plan(store, [image(2), image(3)], "plan-2")
        assert read_plan(store, 0, 1)["image_id"].to_pylist() == ["1.jpg"]
        assert read_plan(store, 1, 2, "plan-2")["image_id"].to_pylist() == ["3.jpg"]

    def test_holds_no_more_than_a_file_of_a_source_in_memory(self, store):
        """Each file is there before the source is asked for the next one's rows."""

        def source():
            for number in range(18):
                if number % 6 == 0:
                    assert len(list(store.list("plan"))) == number // 6
                yield image(number)

        write_plan(store, source())

    def test_names_in_any_script_are_kept(self, store):
        row = ImageRow("猫/Ä b'\"\n.jpg", "/猫/Ä b'\"\n.jpg", 1, 0.0, ("猫",))
        write_plan(store, [row])
        assert read_plan(store, 0, 1).equals(manifest_table([row]))

    def test_a_name_that_is_no_utf8_is_refused(self, store):
        name = b"\xff.jpg".decode("utf-8", "surrogateescape")
        with pytest.raises(InputError, match=r"xff|udcff.*not UTF-8") as caught:
            write_plan(store, [ImageRow(name, f"/{name}", 1, 0.0)])
        str(caught.value).encode()
