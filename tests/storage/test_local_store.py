"""A directory as a store, beyond what holds of every store: links, and a file there in full or not at all."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from igcam_batch.errors import InputError
from igcam_batch.storage import Entry, LocalStore, open_store


def paths(store: LocalStore, under: str = "", **options: bool) -> list[str]:
    return [entry.path for entry in store.list(under, **options)]


@pytest.fixture
def store(local_store: LocalStore) -> LocalStore:
    return local_store


class TestList:
    def test_says_size_and_time(self, store):
        store.write("a", b"12345")
        os.utime(Path(store.root) / "a", (0, 1_000_000_000.5))
        assert list(store.list()) == [Entry("a", 5, 1_000_000_000.5)]

    def test_follows_links_to_files_and_directories_and_goes_in_no_circle(self, store, tmp_path):
        store.write("a/1.txt", b"x")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "2.txt").touch()
        (elsewhere / "back").symlink_to(store.root)
        (elsewhere / "self").symlink_to(elsewhere)
        (Path(store.root) / "directory").symlink_to(elsewhere)
        (Path(store.root) / "other").symlink_to(elsewhere)
        (Path(store.root) / "around").symlink_to(store.root)
        (Path(store.root) / "file.txt").symlink_to(elsewhere / "2.txt")
        assert paths(store) == ["a/1.txt", "directory/2.txt", "file.txt", "other/2.txt"]
        assert not store.links_left_out

    def test_passes_over_what_is_no_file(self, store):
        store.write("a.txt", b"x")
        root = Path(store.root)
        (root / "circle").symlink_to("circle")
        (root / "dangling").symlink_to("nowhere")
        os.mkfifo(root / "pipe")
        assert paths(store) == ["a.txt"]

    def test_takes_a_root_that_is_itself_a_link(self, store, tmp_path):
        store.write("a.txt", b"x")
        (tmp_path / "link").symlink_to(store.root)
        assert paths(LocalStore(str(tmp_path / "link"))) == ["a.txt"]


class TestConfined:
    """A store that links do not lead out of."""

    @pytest.fixture
    def inside(self, tmp_path: Path) -> LocalStore:
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "in" / "sub" / "1.txt").write_bytes(b"in")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "secret").write_bytes(b"secret")
        return LocalStore(str(tmp_path / "in"), follow_links=False)

    def link(self, store: LocalStore, name: str, target: str | Path) -> None:
        (Path(store.root) / name).symlink_to(target)

    def test_lists_links_to_files_within_and_leaves_out_and_counts_those_that_lead_out(self, inside, tmp_path):
        self.link(inside, "within.txt", "sub/1.txt")
        self.link(inside, "sub_again", "sub")
        self.link(inside, "file.txt", tmp_path / "out" / "secret")
        self.link(inside, "climbing.txt", "../out/secret")
        self.link(inside, "directory", tmp_path / "out")
        self.link(inside, "twice.txt", "file.txt")
        self.link(inside, "nowhere", tmp_path / "out" / "nothing")
        assert paths(inside) == ["sub/1.txt", "within.txt"]
        assert paths(inside, recursive=False) == ["within.txt"]
        assert list(inside.links_left_out) == ["climbing.txt", "directory", "file.txt", "twice.txt"]

    @pytest.mark.parametrize("path", ["file.txt", "directory/secret", "../out/secret", "sub/../../out/secret"])
    def test_reads_nothing_outside(self, inside, tmp_path, path):
        self.link(inside, "file.txt", tmp_path / "out" / "secret")
        self.link(inside, "directory", tmp_path / "out")
        for call in (inside.read, inside.open, lambda path: inside.read_range(path, 0, 3)):
            with pytest.raises(PermissionError, match=f"leads out of {inside.root}; --follow-links takes it"):
                call(path)
        assert not inside.exists(path)
        open_to_links = LocalStore(inside.root)
        assert open_to_links.exists(path)
        assert open_to_links.read(path) == b"secret"

    def test_lists_nothing_under_a_directory_that_is_a_link_out(self, inside, tmp_path):
        self.link(inside, "directory", tmp_path / "out")
        assert paths(inside, "directory") == paths(inside, "../out") == []
        assert paths(LocalStore(inside.root), "directory") == ["directory/secret"]

    def test_reads_what_is_within_by_a_link_or_not(self, inside):
        self.link(inside, "within.txt", "sub/1.txt")
        self.link(inside, "sub_again", "sub")
        assert [inside.read(path) for path in ("sub/1.txt", "within.txt", "sub_again/1.txt")] == [b"in"] * 3

    def test_may_itself_be_named_by_a_link(self, inside, tmp_path):
        (tmp_path / "link").symlink_to(inside.root)
        store = LocalStore(str(tmp_path / "link"), follow_links=False)
        assert paths(store) == ["sub/1.txt"]
        assert store.read("sub/1.txt") == b"in"

    def test_does_not_open_a_link_that_took_a_file_s_place_after_it_was_looked_at(self, inside, tmp_path, monkeypatch):
        (Path(inside.root) / "sub" / "1.txt").unlink()
        self.link(inside, "sub/1.txt", tmp_path / "out" / "secret")
        monkeypatch.setattr(os.path, "realpath", str)  # as it was when it was a file
        with pytest.raises(OSError, match="symbolic link"):
            inside.read("sub/1.txt")


class TestReadAndDelete:
    def test_delete_of_a_link_leaves_what_it_leads_to(self, store, tmp_path):
        store.write("kept/1", b"x")
        (Path(store.root) / "link").symlink_to(Path(store.root) / "kept")
        store.delete("link")
        assert paths(store) == ["kept/1"]
        assert not (Path(store.root) / "link").is_symlink()

    def test_uri_is_the_absolute_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert LocalStore("data").uri("a/b.txt") == f"{tmp_path}/data/a/b.txt"


_WRITER = """
import sys
from igcam_batch.storage import open_store
store = open_store(sys.argv[1])
sys.stdout.write("ready\\n"); sys.stdout.flush()
turn = 0
while True:
    store.write("table", bytes([65 + turn % 26]) * int(sys.argv[2]))
    turn += 1
"""


class TestWrite:
    SIZE = 3_000_000

    def whole(self, data: bytes) -> bool:
        return len(data) == self.SIZE and data.count(data[:1]) == self.SIZE

    def test_a_killed_writer_leaves_the_file_whole_and_nothing_else_in_the_listing(self, store):
        """Kills come until some have cut a write short, which a hidden file tells, and some writes have been seen."""
        chance = random.Random(0)
        seen, cut_short = set(), 0
        for _ in range(40):
            writer = subprocess.Popen(
                [sys.executable, "-c", _WRITER, store.root, str(self.SIZE)], stdout=subprocess.PIPE
            )
            assert writer.stdout is not None
            writer.stdout.readline()
            until = time.monotonic() + chance.uniform(0.01, 0.15)
            while time.monotonic() < until:
                if store.exists("table"):
                    data = store.read("table")
                    assert self.whole(data)
                    seen.add(data[0])
            writer.kill()
            writer.wait()
            writer.stdout.close()
            assert paths(store) in ([], ["table"])
            assert not store.exists("table") or self.whole(store.read("table"))
            cut_short = sum(path.name.startswith(".") for path in Path(store.root).iterdir())
            if cut_short > 3 and len(seen) > 2:
                break
        assert cut_short, "no kill came in the middle of a write"
        assert len(seen) > 2, "the writer was never seen at work"

    def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_behind(self, store, monkeypatch):
        store.write("table", b"old")

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.write("table", b"new")
        assert store.read("table") == b"old"
        assert [path.name for path in Path(store.root).iterdir()] == ["table"]

    def test_the_bytes_are_on_disk_before_the_name_is_and_the_name_before_it_returns(self, store, monkeypatch):
        happened = []
        fsync, replace = os.fsync, os.replace

        def watched_fsync(descriptor: int) -> None:
            opened = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            happened.append("directory" if opened == store.root else Path(opened).read_bytes())
            fsync(descriptor)

        def watched_replace(source, target, **options) -> None:
            happened.append("rename")
            replace(source, target, **options)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)
        monkeypatch.setattr(Path, "replace", watched_replace)
        store.write("table", b"new")
        assert happened == [b"new", "rename", "directory"]


class TestSweep:
    def test_removes_what_a_process_left_that_was_killed_while_it_wrote_and_nothing_else(self, store):
        program = (
            "import os, signal, sys; from igcam_batch.storage import LocalStore, local\n"
            "os.fsync = lambda _file: os.kill(os.getpid(), signal.SIGKILL)\n"
            "LocalStore(sys.argv[1]).write('scores/part-000000.parquet', b'half')"
        )
        subprocess.run([sys.executable, "-c", program, store.root], check=False)
        directory = Path(store.root) / "scores"
        kept = {".hidden", ".part.parquet", "part-000001.parquet"}
        for name in kept:
            (directory / name).touch()
        assert len(list(directory.iterdir())) == len(kept) + 1
        store.sweep("scores")
        store.sweep("nowhere")
        assert {path.name for path in directory.iterdir()} == kept


class TestOpenStore:
    def test_takes_a_path_a_home_and_a_file_uri(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert open_store("/data").root == "/data"
        assert open_store("file:///data").root == "/data"
        assert open_store("~/data").root == f"{tmp_path}/data"

    @pytest.mark.parametrize("uri", ["gs://bucket/prefix", "https://example.org/a", "hdfs://a/b"])
    def test_names_a_scheme_that_it_does_not_know(self, uri):
        with pytest.raises(InputError, match=f"^{uri}: .*{uri.partition(':')[0]}://"):
            open_store(uri)
