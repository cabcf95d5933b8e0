"""What holds of every store, a directory and a real S3 server alike."""

import pickle
import random
import threading
import time

import pytest

from igcam_batch.storage import Store, open_store


def paths(store: Store, under: str = "", **options: bool) -> list[str]:
    return [entry.path for entry in store.list(under, **options)]


@pytest.fixture(params=["local_store", pytest.param("s3_store", marks=pytest.mark.xdist_group("s3"))])
def store(request) -> Store:
    return request.getfixturevalue(request.param)


class TestList:
    def test_finds_files_at_any_depth_in_the_order_of_their_names(self, store):
        for path in ("b.txt", "a/z.txt", "a/b/c.txt", "B.txt", "10", "9"):
            store.write(path, b"x")
        assert paths(store) == ["10", "9", "B.txt", "a/b/c.txt", "a/z.txt", "b.txt"]

    def test_the_order_does_not_depend_on_the_order_of_writing(self, store):
        names = [f"{number:03d}/{number}.txt" for number in range(40)]
        for seed in (1, 2):
            for name in random.Random(seed).sample(names, len(names)):
                store.write(f"{seed}/{name}", b"x")
            assert paths(store, str(seed)) == [f"{seed}/{name}" for name in names]

    def test_can_stay_in_one_directory(self, store):
        store.write("a/1.txt", b"x")
        store.write("a/b/2.txt", b"x")
        assert paths(store, "a", recursive=False) == ["a/1.txt"]

    def test_gives_paths_relative_to_the_root_for_a_directory_under_it(self, store):
        store.write("a/b/2.txt", b"x")
        store.write("ab/3.txt", b"x")
        assert paths(store, "a") == paths(store, "a/") == ["a/b/2.txt"]

    def test_leaves_out_hidden_files_and_directories(self, store):
        for path in (".hidden", ".git/config", "a/.hidden", "a/seen"):
            store.write(path, b"x")
        assert paths(store) == ["a/seen"]

    def test_says_size_and_time(self, store):
        store.write("a", b"12345")
        (entry,) = store.list()
        assert (entry.path, entry.size) == ("a", 5)
        assert abs(entry.modified - time.time()) < 60

    @pytest.mark.parametrize("under", ["", "nowhere", "file", "file/deeper"])
    def test_is_empty_where_there_is_no_such_directory(self, store, under):
        if under:
            store.write("file", b"")
        assert paths(store, under) == []

    @pytest.mark.parametrize("name", ["ä é/日本.png", "a b+c%20?d#e&f=g.png", 'it\'s "so" <&>.png', "~tilde!*().png"])
    def test_takes_any_name(self, store, name):
        store.write(name, b"x")
        assert paths(store) == [name]
        assert store.exists(name)
        assert store.read(name) == b"x"
        store.delete(name)
        assert not store.exists(name)


class TestRead:
    def test_what_was_written_last_is_read(self, store):
        store.write("deep/er/file", b"one")
        store.write("deep/er/file", b"another")
        assert store.read("deep/er/file") == b"another"

    def test_an_empty_file_is_read(self, store):
        store.write("empty", b"")
        assert store.read("empty") == store.read_range("empty", 0, 5) == b""
        with store.open("empty") as file:
            assert file.read() == b""

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [(0, 3, b"012"), (4, 2, b"45"), (8, 9, b"89"), (9, 1, b"9"), (10, 1, b""), (70, 7, b""), (3, 0, b"")],
    )
    def test_a_range_holds_what_there_is_of_it(self, store, start, length, expected):
        store.write("digits", b"0123456789")
        assert store.read_range("digits", start, length) == expected

    def test_an_open_file_reads_anywhere_as_one_in_memory_does(self, store):
        data = random.Random(0).randbytes(5_000_000)
        store.write("large", data)
        chance = random.Random(1)
        with store.open("large") as file:
            assert file.readable()
            assert file.seekable()
            for _ in range(30):
                start, length = chance.randrange(len(data)), chance.choice([1, 100, 70_000, 2_500_000])
                assert file.seek(start) == start
                assert file.read(length) == data[start : start + length]
                assert file.tell() == min(start + length, len(data))
            assert file.seek(-10, 2) == len(data) - 10
            assert file.read() == data[-10:]
            file.seek(0)
            assert file.read() == data

    @pytest.mark.parametrize("method", ["read", "open", "read_range"])
    def test_a_missing_file_is_an_os_error_that_names_it(self, store, method):
        store.write("there", b"x")
        with pytest.raises(FileNotFoundError, match="No such file") as caught:
            getattr(store, method)("nowhere/a.png", *((0, 1) if method == "read_range" else ()))
        assert str(caught.value.filename) == store.uri("nowhere/a.png")

    def test_exists_is_true_of_files_alone(self, store):
        store.write("a/file", b"")
        assert store.exists("a/file")
        assert not store.exists("a")
        assert not store.exists("a/nothing")

    def test_a_copy_in_another_process_reads_the_same(self, store):
        store.write("a", b"x")
        copy = pickle.loads(pickle.dumps(store))
        assert (copy.root, copy.read("a")) == (store.root, b"x")

    def test_is_opened_again_by_its_root(self, store):
        store.write("a/b", b"x")
        assert open_store(store.root).read("a/b") == b"x"
        assert open_store(store.uri("a")).read("b") == b"x"


class TestWriteAndDelete:
    def test_delete_removes_a_file_or_a_directory_with_what_it_holds(self, store):
        for path in ("a/1", "a/b/2", "a/.hidden", "ab", "c", "d"):
            store.write(path, b"x")
        store.delete("a")
        store.delete("c")
        store.delete("nowhere")
        assert paths(store) == ["ab", "d"]
        assert not store.exists("a/.hidden")

    def test_delete_files_removes_those_and_nothing_beside_or_below_them(self, store):
        for path in ("a/1", "a/10", "a/b/2", "a/.hidden", "b", "b2"):
            store.write(path, b"x")
        store.delete_files(path for path in ("a/1", "b", "a/b/2", "nowhere/3"))
        assert paths(store) == ["a/10", "b2"]
        assert store.exists("a/.hidden")

    def test_a_reader_sees_the_old_file_or_the_new_never_a_part(self, store):
        size = 3_000_000
        store.write("table", b"A" * size)
        stop = threading.Event()

        def rewrite() -> None:
            for turn in range(1, 20):
                store.write("table", bytes([65 + turn]) * size)
            stop.set()

        writer = threading.Thread(target=rewrite)
        writer.start()
        seen = set()
        while not stop.is_set():
            data = store.read("table")
            assert len(data) == data.count(data[:1]) == size
            seen.add(data[0])
        writer.join()
        assert len(seen) > 1
