"""Parquet files that hold images, as the Hugging Face hub stores them."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawings import picture

from igcam_batch.errors import InputError
from igcam_batch.sources import Notes, find_layout, find_place
from igcam_batch.sources.embedded import image_column, parquet_tables
from igcam_batch.sources.fetch import fetch

HUB_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def hub_table(count: int, names: list[str] | None = None, **columns: list) -> pa.Table:
    """As `datasets.Dataset.to_parquet` writes it: struct images, numbered labels, names in the schema's metadata."""
    images = pa.array([{"bytes": b"x" * n, "path": f"{n}.jpg"} for n in range(count)], HUB_IMAGE)
    table = pa.table({"image": images, "label": pa.array([n % 2 for n in range(count)]), **columns})
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}}
    if names:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.fixture
def dataset(tmp_path: Path):
    """Write tables as Parquet files: `dataset(**{"data/train-0.parquet": table})`."""

    def write(**tables: pa.Table) -> Path:
        for name, table in tables.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, tmp_path / name, row_group_size=3)
        return tmp_path

    return write


def rows(root: Path) -> list[dict[str, Any]]:
    return [row for table in parquet_tables(find_place(str(root)), Notes()) for row in table.to_pylist()]


class TestRows:
    def test_name_the_row_and_the_column_of_each_image_and_leave_its_bytes(self, dataset):
        root = dataset(**{"data/b.parquet": hub_table(2), "data/a.parquet": hub_table(5)})
        found = rows(root)
        assert [row["image_id"] for row in found] == [
            *(f"data/a.parquet#{n}" for n in range(5)),
            *(f"data/b.parquet#{n}" for n in range(2)),
        ]
        there = (root / "data/b.parquet").stat()
        assert found[6]["part"] == {
            "file": f"{root}/data/b.parquet",
            "offset": None,
            "row": 1,
            "column": "image.bytes",
            "size": there.st_size,
            "modified": there.st_mtime,
            "etag": None,
        }
        assert found[6]["uri"] == f"{root}/data/b.parquet#1"
        assert find_layout(find_place(str(root))) == "parquet"

    def test_labels_have_the_names_that_the_hub_gives_them(self, dataset):
        root = dataset(**{"a.parquet": hub_table(3, ["cat", "dog"])})
        assert [row["labels"] for row in rows(root)] == [["cat"], ["dog"], ["cat"]]

    def test_numbered_labels_stay_numbers_where_nothing_names_them(self, dataset):
        assert [row["labels"] for row in rows(dataset(**{"a.parquet": hub_table(2)}))] == [["0"], ["1"]]

    def test_other_columns_are_carried_and_an_id_is_taken(self, dataset):
        table = hub_table(2, image_id=["x", "y"], camera=["front", None], thumbnail=[b"1", b"2"])
        assert [(row["image_id"], row["carried"]) for row in rows(dataset(**{"a.parquet": table}))] == [
            ("x", {"camera": "front"}),
            ("y", {"camera": None}),
        ]

    def test_a_file_of_nothing_but_images_will_do(self, dataset):
        root = dataset(**{"a.parquet": pa.table({"jpg": [b"1", b"2", None]})})
        assert [(row["labels"], row["part"]["column"]) for row in rows(root / "a.parquet")] == [([], "jpg")] * 3


def parquet(**columns: pa.Array) -> pq.ParquetFile:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return pq.ParquetFile(sink)


def png() -> bytes:
    sink = io.BytesIO()
    picture(0).save(sink, "PNG")
    return sink.getvalue()


class TestImageColumn:
    @pytest.mark.parametrize(
        ("columns", "column"),
        [
            ({"image": pa.array([{"bytes": b"x", "path": ""}], HUB_IMAGE)}, "image.bytes"),
            ({"mask": pa.array([b"x"]), "image": pa.array([b"x"])}, "image"),
            ({"img": pa.array([None], HUB_IMAGE), "note": pa.array(["x"])}, "img.bytes"),
            ({"photo": pa.array([None, png()], pa.large_binary())}, "photo"),
            ({"my.photo": pa.array([png()])}, "my.photo"),
            ({"png": pa.array([b"x"]), "jpg": pa.array([b"x"])}, "jpg"),
        ],
        ids=lambda value: value if isinstance(value, str) else ", ".join(value),
    )
    def test_is_found_by_name_or_because_the_only_one_holds_images(self, columns, column):
        assert image_column(parquet(**columns), "f") == column

    @pytest.mark.parametrize(
        "columns",
        [
            {"label": pa.array([1])},
            {"image": pa.array(["a.jpg"])},
            {"image": pa.array(["a.jpg"]), "hash": pa.array([b"\x01\x02"])},
            {"one": pa.array([b"x"]), "two": pa.array([b"x"])},
        ],
        ids=lambda value: value if isinstance(value, str) else ", ".join(value),
    )
    def test_that_is_not_there_or_not_to_be_told_is_an_error_with_the_columns(self, columns):
        with pytest.raises(InputError, match=r"^f: no column of images .* there are: " + ", ".join(columns)):
            image_column(parquet(**columns), "f")

    def test_may_have_a_dot_in_its_name_and_is_read(self, dataset):
        root = dataset(**{"a.parquet": pa.table({"my.photo": [png(), None, png()]})})
        found = [data for _, data in fetch(rows(root))]
        assert found[0] == found[2] == png()
        assert isinstance(found[1], OSError)


class TestLabels:
    def test_have_the_names_of_their_own_column(self, dataset):
        features = {"label": {"names": ["cat", "dog"]}, "labels": {"feature": {"names": ["x", "y"]}}}
        table = hub_table(1, labels=pa.array([[1]])).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
        assert rows(dataset(**{"a.parquet": table}))[0]["labels"] == ["y"]


class TestWhatIsRefused:
    def test_an_id_that_is_null(self, dataset):
        root = dataset(**{"a.parquet": hub_table(3, image_id=["a", "b", None])})
        with pytest.raises(InputError, match=rf"^{root}/a.parquet: row 3: no image_id$"):
            rows(root)

    def test_files_of_different_columns(self, dataset):
        root = dataset(**{"a.parquet": hub_table(2), "b.parquet": hub_table(2, more=[1, 2])})
        with pytest.raises(InputError, match=rf"^{root}/b.parquet: has other columns than {root}/a.parquet"):
            rows(root)

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all, whatever it is called"])
    def test_what_is_no_parquet_file(self, tmp_path, data):
        (tmp_path / "a.parquet").write_bytes(data)
        with pytest.raises(InputError, match=rf"^{tmp_path}/a.parquet: no Parquet file: "):
            rows(tmp_path)

    def test_a_directory_without_any(self, tmp_path):
        with pytest.raises(InputError, match=r"needs files named \*.parquet"):
            rows(tmp_path)
