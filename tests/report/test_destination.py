"""Where an export or a comparison goes: nothing that was there is lost, and one that fails is in nobody's way."""

import json
import re
from pathlib import Path

import pytest

from igcam_batch.errors import InputError
from igcam_batch.report.compare.compare import COMPARISON
from igcam_batch.report.destination import Destination, Kind
from igcam_batch.report.export.names import EXPORT
from igcam_batch.storage import LocalStore, open_store

KIND = Kind("a cake", "--tin", "cake.json", re.compile(r"layers/\d+|icing"))


def bake(directory: Path, *layers: str, overwrite: bool = False) -> None:
    with Destination(str(directory), KIND, overwrite).anew({}) as to:
        for layer in layers:
            to.write(f"layers/{layer}", layer.encode())


def put(directory: Path, *layers: str, overwrite: bool = True) -> None:
    staged = open_store(f"{directory}-staged")
    staged.delete("layers")
    for layer in layers:
        staged.write(f"layers/{layer}", layer.encode())
    Destination(str(directory), KIND, overwrite).put(staged, {})


def files(directory: Path) -> dict[str, bytes]:
    """All of them, hidden ones too."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """The next time that a file of that name is written, it is not."""
    write, failed = LocalStore.write, []

    def writing(self: LocalStore, path: str, data: bytes) -> None:
        if path == name and not failed:
            failed.append(path)
            raise error
        write(self, path, data)

    monkeypatch.setattr(LocalStore, "write", writing)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "mine",
    ["thesis.tex", "layers/1", "icing", "deep/er/notes.txt", "cake.json"],
)
def test_a_directory_that_holds_what_we_did_not_write_is_refused_and_kept(
    tmp_path: Path, overwrite: bool, mine: str
) -> None:
    (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mine).write_text('{"state": "finished"}')
    with pytest.raises(InputError, match=f"holds {mine}, which is no part of a cake; name another --tin$"):
        Destination(str(tmp_path), KIND, overwrite)
    assert files(tmp_path) == {mine: b'{"state": "finished"}'}


@pytest.mark.parametrize("mine", ["notes.txt", "layers/notes.txt", "layers/1/2", "icing.bak"])
def test_what_others_put_into_ours_keeps_all_of_it(tmp_path: Path, mine: str) -> None:
    bake(tmp_path, "0")
    (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mine).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"holds {mine}, which is no part of a cake"):
        bake(tmp_path, "1", overwrite=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize("write", [bake, put])
def test_hidden_files_are_nobodys_business(tmp_path: Path, write) -> None:
    (tmp_path / ".git").mkdir()
    for name in (".git/HEAD", ".claim", "layers/.keep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    write(tmp_path, "0")
    write(tmp_path, "1", overwrite=True)
    with pytest.raises(InputError):
        write(tmp_path, overwrite=False)
    assert set(files(tmp_path)) == {".git/HEAD", ".claim", "layers/.keep", "layers/1", "cake.json"}


@pytest.mark.parametrize("write", [bake, put])
def test_a_finished_one_is_replaced_only_when_asked(tmp_path: Path, write) -> None:
    write(tmp_path, "0", "1", overwrite=False)
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"holds a cake; name another --tin, or --overwrite it$"):
        write(tmp_path, "2", overwrite=False)
    assert files(tmp_path) == before
    write(tmp_path, "2", overwrite=True)
    assert set(files(tmp_path)) == {"cake.json", "layers/2"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("x"), KeyboardInterrupt()])
def test_one_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    fail_at(monkeypatch, "layers/1", error)
    with pytest.raises(type(error)):
        bake(tmp_path / "dir", "0", "1", "2")
    assert not (tmp_path / "dir").exists()
    bake(tmp_path / "dir", "0")


def test_one_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    bake(tmp_path, "7")
    mark = json.loads((tmp_path / "cake.json").read_text())
    (tmp_path / "cake.json").write_text(json.dumps(mark | {"state": "unfinished"}))
    bake(tmp_path, "0")
    assert set(files(tmp_path)) == {"cake.json", "layers/0"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["layers/0", "layers/2", "cake.json"])
def test_what_is_put_takes_the_place_of_the_earlier_one_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    put(tmp_path / "dir", "0", "1")
    before = files(tmp_path / "dir")
    staged = open_store(str(tmp_path / "new"))
    for layer in "02":
        staged.write(f"layers/{layer}", b"new")
    fail_at(monkeypatch, name, error)
    with pytest.raises(type(error)):
        Destination(str(tmp_path / "dir"), KIND, overwrite=True).put(staged, {})
    assert files(tmp_path / "dir") == before


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    first, second = (Destination(str(tmp_path), KIND) for _ in range(2))
    with first.anew({}) as to:
        to.write("icing", b"first")
        with pytest.raises(InputError, match=r"another igcam-batch writes to it"), second.anew({}):
            pass
    with pytest.raises(InputError, match="holds a cake"), second.anew({}):
        pass
    assert (tmp_path / "icing").read_bytes() == b"first"


@pytest.mark.xdist_group("s3")
def test_in_s3_too_nothing_else_is_removed(bucket: str) -> None:
    uri = f"s3://{bucket}/cakes/a"
    store, beside = open_store(uri), open_store(f"s3://{bucket}/cakes")
    beside.write("a-sister/layers/0", b"mine")
    with Destination(uri, KIND).anew({}) as to:
        to.write("layers/0", b"x")
    with Destination(uri, KIND, overwrite=True).anew({}) as to:
        to.write("layers/1", b"x")
    assert [entry.path for entry in store.list()] == ["cake.json", "layers/1"]
    store.write("notes", b"mine")
    with pytest.raises(InputError, match="holds notes, which is no part of a cake"):
        Destination(uri, KIND, overwrite=True)
    assert beside.exists("a-sister/layers/0")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (COMPARISON, "changes/my-notes.md"),
        (COMPARISON, "changes/2026.parquet"),
        (EXPORT, "data/000000/holiday.jpg"),
        (EXPORT, "overlays/grad-cam/holiday.jpg"),
        (EXPORT, "fields/a/b/c.png"),
        (EXPORT, "boxes/notes.txt"),
    ],
)
def test_what_looks_like_ours_from_afar_is_not(kind: Kind, path: str) -> None:
    assert not kind.files.fullmatch(path)
