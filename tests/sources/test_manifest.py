"""A manifest in CSV, JSON Lines or Parquet: where images are, what is known of them, and what is wrong with a row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from igcam_batch.errors import InputError
from igcam_batch.sources import MANIFEST, Notes, find_layout, find_place, manifest_files
from igcam_batch.sources.manifest import manifest_tables

BOX = {"label": "cat", "left": 1.5, "top": 2, "right": 3, "bottom": 4}
KINDS = ["csv", "jsonl", "parquet"]


@pytest.fixture
def written(tmp_path: Path):
    """Write rows as a manifest of a kind, and name it."""

    def write(kind: str, rows: list[dict[str, Any]], name: str = "manifest") -> Path:
        path = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            flat = [{key: _in_csv(key, value) for key, value in row.items()} for row in rows]
            pyarrow.csv.write_csv(pa.Table.from_pylist(flat), path)
        elif kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def _in_csv(key: str, value: Any) -> Any:
    if key == "labels":
        return "|".join(value)
    return json.dumps(value) if key == "boxes" else value


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for table in manifest_tables(find_place(str(path)), Notes()) for row in table.to_pylist()]


@pytest.mark.parametrize("kind", KINDS)
class TestRows:
    def test_say_where_each_image_is_relative_to_the_manifest_or_in_full(self, written, tmp_path, kind):
        uris = ["a.jpg", "sub/b c.png", "/data/d.jpg", "s3://bucket/e.jpg", "../f.jpg", "猫.jpg"]
        found = rows(written(kind, [{"uri": uri} for uri in uris]))
        assert [row["image_id"] for row in found] == uris
        assert [row["uri"] for row in found] == [
            f"{tmp_path}/a.jpg",
            f"{tmp_path}/sub/b c.png",
            "/data/d.jpg",
            "s3://bucket/e.jpg",
            f"{tmp_path}/../f.jpg",
            f"{tmp_path}/猫.jpg",
        ]

    def test_may_have_ids_labels_and_boxes(self, written, kind):
        path = written(
            kind,
            [
                {"uri": "a.jpg", "image_id": "7", "labels": ["cat", "dog"], "boxes": [BOX, BOX | {"label": "dog"}]},
                {"uri": "a.jpg", "image_id": "8", "labels": ["cow"], "boxes": []},
            ],
        )
        first, second = rows(path)
        assert (first["image_id"], first["labels"]) == ("7", ["cat", "dog"])
        assert first["boxes"] == [BOX | {"segmentation": None}, BOX | {"label": "dog", "segmentation": None}]
        assert (second["image_id"], second["labels"], second["boxes"]) == ("8", ["cow"], [])

    @pytest.mark.parametrize(("label", "read"), [("Egyptian cat", "Egyptian cat"), (281, "281")])
    def test_may_have_one_label_by_name_or_number(self, written, kind, label, read):
        assert [row["labels"] for row in rows(written(kind, [{"uri": "a", "label": label}]))] == [[read]]

    def test_every_other_column_is_carried_along_in_its_type(self, written, kind):
        path = written(
            kind, [{"uri": "a", "camera": "front", "exposure": 0.5, "width": 7}, {"uri": "b", "exposure": 1.5}]
        )
        assert [row["carried"] for row in rows(path)] == [
            {"camera": "front", "exposure": 0.5, "width": 7},
            {"camera": None, "exposure": 1.5, "width": None},
        ]

    def test_without_other_columns_are_plain(self, written, kind):
        [table] = manifest_tables(find_place(str(written(kind, [{"uri": "a"}]))), Notes())
        assert table.schema.equals(MANIFEST)

    def test_a_directory_with_a_manifest_is_that_manifest(self, written, tmp_path, kind):
        path = written(kind, [{"uri": "a"}])
        assert find_layout(find_place(str(tmp_path))) == "manifest"
        assert rows(tmp_path) == rows(path)

    def test_a_file_of_another_name_is_one_where_it_is_named(self, written, kind):
        path = written(kind, [{"uri": "a"}], name="my images")
        assert find_layout(find_place(str(path))) == "manifest"
        assert [row["image_id"] for row in rows(path)] == ["a"]

    def test_no_column_uri_is_told_with_those_there_are(self, written, kind):
        path = written(kind, [{"url": "a", "label": "cat"}])
        with pytest.raises(InputError, match=rf"^{path}: no column 'uri'; there are: url, label$"):
            rows(path)

    @pytest.mark.parametrize("empty", [None, ""], ids=["null", "empty"])
    def test_a_row_that_says_nothing_is_named_by_its_line(self, written, kind, empty):
        path = written(kind, [{"uri": "a", "x": 1}, {"uri": "b", "x": 1}, {"uri": empty, "x": 1}])
        where = "line" if kind == "jsonl" else "row"
        with pytest.raises(InputError, match=rf"^{path}: {where} 3: no uri$"):
            rows(path)

    @pytest.mark.parametrize(
        ("boxes", "said"),
        [
            ([{"label": "cat", "left": 1, "top": 2, "right": 3}], "no 'bottom'"),
            ([{"left": 1, "top": 2, "right": 3, "bottom": 4}], "no 'label'"),
            ([BOX | {"left": "x"}], "could not convert string to float: 'x'"),
        ],
    )
    def test_a_box_that_is_none_is_named_by_its_line(self, written, kind, boxes, said):
        path = written(kind, [{"uri": "a", "boxes": boxes}])
        with pytest.raises(
            InputError, match=rf"^{path}: (line|row) 1: boxes must be a list of objects with label"
        ) as caught:
            rows(path)
        assert said in str(caught.value)

    @pytest.mark.parametrize("sides", [(3, 2, 3, 4), (5, 2, 3, 4), (-5, 0, 0, 9)], ids=str)
    def test_a_box_without_area_is_left_out_and_told_with_its_line(self, written, kind, sides):
        empty = dict(zip(("left", "top", "right", "bottom"), sides, strict=True), label="dog")
        path = written(kind, [{"uri": "a", "boxes": [BOX]}, {"uri": "b", "boxes": [empty, BOX]}])
        notes = Notes()
        found = [row for table in manifest_tables(find_place(str(path)), notes) for row in table.to_pylist()]
        assert [[box["label"] for box in row["boxes"]] for row in found] == [["cat"], ["cat"]]
        [line] = notes.lines()
        assert line.startswith("boxes have no area in their image and are left out: 1; the first: ")
        assert f"{path}: {'line' if kind == 'jsonl' else 'row'} 2: 'dog' " in line


class TestInParts:
    """Large manifests come some rows at a time."""

    def test_lines_are_counted_across_the_parts(self, written, monkeypatch):
        monkeypatch.setattr(manifest_files, "_BLOCK", 200)
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        path = written("csv", [{"uri": f"{n}.jpg"} for n in range(100)] + [{"uri": "", "x": 1}])
        with pytest.raises(InputError, match=r": row 101: no uri$"):
            rows(path)

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_a_column_that_changes_its_type_on_the_way_is_told(self, written, monkeypatch, kind):
        monkeypatch.setattr(manifest_files, "_BLOCK", 200)
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        path = written(kind, [{"uri": f"{n}.jpg", "x": n} for n in range(100)])
        with path.open("a") as file:
            file.write('"a.jpg",three\n' if kind == "csv" else '{"uri": "a.jpg", "x": "three"}\n')
        with pytest.raises(InputError, match=f"^{path}: ") as caught:
            rows(path)
        assert "\n" not in str(caught.value)

    def test_a_key_that_only_some_json_lines_have_is_null_in_the_others(self, written, monkeypatch):
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        content = [{"uri": f"{n}.jpg"} | ({"x": n, "y": "z"} if n == 3 else {}) for n in range(25)]
        carried = [row["carried"] for row in rows(written("jsonl", content))]
        assert carried[3] == {"x": 3, "y": "z"}
        assert all(other == {"x": None, "y": None} for n, other in enumerate(carried) if n != 3)

    @pytest.mark.parametrize("first", [{}, {"y": 1}])
    def test_a_key_that_comes_too_late_to_be_carried_is_told(self, written, monkeypatch, first):
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        path = written("jsonl", [{"uri": f"{n}.jpg"} | first | ({"x": n} if n == 17 else {}) for n in range(25)])
        with pytest.raises(InputError, match=f"^{path}: line 18: has 'x', which none of the first lines has, "):
            rows(path)

    def test_a_key_that_is_null_at_first_says_what_to_do(self, written, monkeypatch):
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        path = written("jsonl", [{"uri": f"{n}.jpg", "x": "late" if n == 17 else None} for n in range(25)])
        with pytest.raises(InputError, match=rf"^{path}: its columns \(x\) change their types .* write it as Parquet"):
            rows(path)

    @pytest.mark.parametrize("kind", KINDS)
    def test_equal_the_whole(self, written, monkeypatch, kind):
        content = [{"uri": f"{n}.jpg", "label": f"l{n % 3}", "x": n} for n in range(300)]
        path = written(kind, content)
        whole = rows(path)
        monkeypatch.setattr(manifest_files, "_BLOCK", 500)
        monkeypatch.setattr(manifest_files, "_LINES", 10)
        assert rows(path) == whole
        assert [row["carried"]["x"] for row in whole] == list(range(300))


class TestWhatIsNoManifest:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b'{"uri": "a"'], ids=["empty", "png", "cut"])
    def test_is_named_in_one_line(self, tmp_path, kind, data):
        path = tmp_path / f"manifest.{kind}"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            rows(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_a_csv_row_of_too_few_columns_is_told(self, tmp_path):
        path = tmp_path / "manifest.csv"
        path.write_text("uri,label\na.jpg,cat\nb.jpg\n")
        with pytest.raises(InputError, match=rf"^{path}: not readable as a table: .*Expected 2 columns, got 1"):
            rows(path)

    def test_a_directory_without_one_says_what_is_needed(self, tmp_path):
        with pytest.raises(InputError, match=r"--layout manifest needs manifest.csv, .jsonl or .parquet, or a file$"):
            rows(tmp_path)


class TestValuesAreKeptAsTheyAreWritten:
    def test_digits_of_a_number_that_is_a_name(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("uri,patient,age,dose\na.jpg,00123,7,0.5\nb.jpg,4,8,1e-3\n")
        assert [row["carried"] for row in rows(tmp_path)] == [
            {"patient": "00123", "age": 7, "dose": 0.5},
            {"patient": "4", "age": 8, "dose": 0.001},
        ]

    @pytest.mark.parametrize("label", ["NA", "null", "nan", "None", "0"])
    def test_labels_that_others_take_for_nothing(self, tmp_path, label):
        (tmp_path / "manifest.csv").write_text(f"uri,label\na.jpg,{label}\nb.jpg,\n")
        assert [row["labels"] for row in rows(tmp_path)] == [[label], []]

    def test_texts_that_look_like_times(self, tmp_path):
        (tmp_path / "manifest.jsonl").write_text('{"uri": "a", "image_id": "2024-01-01T10:00:00", "on": "2024-01-01"}')
        [row] = rows(tmp_path)
        assert (row["image_id"], row["carried"]) == ("2024-01-01T10:00:00", {"on": "2024-01-01"})

    def test_labels_beside_an_empty_one(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("uri,labels\na.jpg,cat|\n")
        assert rows(tmp_path)[0]["labels"] == ["cat"]
        (tmp_path / "manifest.csv").unlink()
        (tmp_path / "manifest.jsonl").write_text('{"uri": "a", "labels": ["cat", null]}')
        assert rows(tmp_path)[0]["labels"] == ["cat"]

    def test_columns_of_types_that_have_no_place_in_a_table_of_scores(self, tmp_path):
        far = pa.array([300_000_000_000], pa.timestamp("s"))  # the year 11476
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 2), dtype=np.float32))
        pq.write_table(pa.table({"uri": ["a"], "far": far, "tensor": tensor}), tmp_path / "manifest.parquet")
        [row] = rows(tmp_path)
        assert row["carried"]["far"].startswith("11476-")
        assert row["carried"]["tensor"] == [1, 1, 1, 1]


class TestOneBadRow:
    @pytest.mark.parametrize(
        ("uri", "said"),
        [("http://x/b.jpg", "http:// cannot be read"), ("gs://x/b", "gs:// cannot"), ("S3://x/b", "S3:// cannot")],
    )
    def test_of_a_uri_that_cannot_be_read_costs_itself_alone(self, written, uri, said):
        path = written("jsonl", [{"uri": "a.jpg"}, {"uri": uri}, {"uri": "s3://bucket/c.jpg"}])
        problems = [row["problem"] for row in rows(path)]
        assert [problem is None for problem in problems] == [True, False, True]
        assert problems[1]["stage"] == "read"
        assert problems[1]["error"].startswith(f"{path}: line 2: {said}")

    def test_of_a_uri_with_a_nul_too(self, written):
        problems = [row["problem"] for row in rows(written("parquet", [{"uri": "a.jpg"}, {"uri": "b\0.jpg"}]))]
        assert problems[0] is None
        assert problems[1]["error"].endswith("row 2: the uri has a NUL in it")

    def test_is_named_by_its_true_line(self, tmp_path):
        (tmp_path / "manifest.jsonl").write_text('{"uri": "a"}\n\n{"uri": "b"}\n{"uri": }\n')
        with pytest.raises(InputError, match=r"manifest.jsonl: line 4: not JSON: Expecting value, at character 9$"):
            rows(tmp_path)

    def test_rows_are_counted_whatever_lines_they_take(self, tmp_path):
        (tmp_path / "manifest.csv").write_text('uri,x\na.jpg,"one\ntwo"\n\n"",three\n')
        with pytest.raises(InputError, match=r"manifest.csv: row 2: no uri$"):
            rows(tmp_path)


def test_columns_of_one_name_are_told(tmp_path):
    (tmp_path / "manifest.csv").write_text("uri,x,x\na,1,2\n")
    with pytest.raises(InputError, match="several columns are called x"):
        rows(tmp_path)
