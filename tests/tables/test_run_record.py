"""run.json: written, read back, and compared."""

import json
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import igcam_batch
from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.storage import LocalStore, open_store
from igcam_batch.tables.record import ModelRecord, RunRecord, differences, now, read_record, versions, write_record


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(str(tmp_path))


OURS = re.escape(versions()["igcam-batch"])
RECORD = RunRecord(
    state="running",
    config={"input": "/data", "steps": 50, "mean": None, "method": ["grad-cam"], "class-map": {"猫": 281}},
    model=ModelRecord(
        sha256="ab" * 32,
        layer="layer4",
        map_shape=(7, 7),
        recipe=Recipe(size=96, resize="crop", resize_size=110, mean=(0.1, 0.2, 0.3)),
        classes=1000,
    ),
    plan="plan",
    images=10,
    shard_size=4,
    shards=3,
    labels=("a", "b"),
    started=now(),
    versions=versions(),
)


class TestRecord:
    def test_comes_back_as_it_was_written(self, store):
        write_record(store, RECORD)
        assert read_record(store) == RECORD

    def test_is_json_that_people_can_read(self, store):
        write_record(store, RECORD)
        text = store.read("run.json").decode()
        assert json.loads(text)["model"]["layer"] == "layer4"
        assert "猫" in text
        assert text.count("\n") > 20

    def test_a_later_one_takes_its_place(self, store):
        write_record(store, RECORD)
        write_record(store, RECORD.model_copy(update={"state": "finished", "counts": {"rows": 3}}))
        found = read_record(store)
        assert found is not None
        assert (found.state, found.counts) == ("finished", {"rows": 3})

    def test_is_none_where_there_is_no_run(self, store):
        assert read_record(store) is None

    @pytest.mark.parametrize("content", [b"{}", b"[1]", b'{"state": "finished"}'])
    def test_a_file_that_is_not_ours_is_named(self, store, content):
        store.write("run.json", content)
        with pytest.raises(InputError, match=rf"^{store.root}/run.json: not written by this igcam-batch, {OURS}; "):
            read_record(store)

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"state": "finished"'])
    def test_a_file_that_a_disk_has_damaged_is_named(self, store, content):
        store.write("run.json", content)
        with pytest.raises(InputError, match=rf"^{store.root}/run.json: is damaged, no whole JSON; put a copy in its"):
            read_record(store)

    def test_of_one_of_another_version_that_version_is_named(self, store):
        store.write("run.json", b'{"state": "done", "versions": {"igcam-batch": "0.0.1"}}')
        with pytest.raises(InputError, match=rf"run.json: written by igcam-batch 0\.0\.1, and this is {OURS}; name X$"):
            read_record(store, "name X")

    def test_one_of_a_later_version_with_more_in_it_is_read(self, store):
        content = json.loads(RECORD.model_dump_json()) | {"weather": "fine"}
        store.write("run.json", json.dumps(content).encode())
        assert read_record(store) == RECORD

    def test_names_the_versions_of_what_computes_the_tables(self):
        import torch

        assert versions()["torch"] == torch.__version__.partition("+")[0]
        assert {"python", "igcam-batch", "ray", "pyarrow"} <= versions().keys()


class TestDifferences:
    def test_are_said_by_flag_with_both_values(self):
        theirs = {"input": "/a", "steps": 50, "layer": None, "method": ["grad-cam", "cam"], "rule": "riemann"}
        ours = {"input": "/b", "steps": 20, "layer": "layer3", "method": ["cam"], "rule": "riemann"}
        assert differences(theirs, ours) == [
            "input: /a there, /b here",
            "--steps: 50 there, 20 here",
            "--layer: default there, layer3 here",
            "--method: grad-cam,cam there, cam here",
        ]

    def test_of_equal_settings_are_none(self):
        assert differences(RECORD.config, json.loads(json.dumps(RECORD.config))) == []


def test_a_clone_says_its_version_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where `ray job submit --working-dir` brings it to nodes that have what it needs."""

    def version(name: str) -> str:
        if name == "igcam-batch":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("igcam_batch.tables.record.version", version)
    assert versions()["igcam-batch"] == igcam_batch.__version__
