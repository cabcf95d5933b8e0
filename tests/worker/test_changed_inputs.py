"""Images that are others than when the audit was planned: each costs itself alone, and says what changed."""

import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import as_voc
from drawings import picture
from PIL import Image
from s3_proxy import Answer, proxy
from s3_server import S3Server

from igcam_batch.images import Recipe
from igcam_batch.sources import Wanted, find_place, open_source
from igcam_batch.storage import PlaceError, open_store
from igcam_batch.tables import Piece
from igcam_batch.worker.read import read_shard

RECIPE = Recipe(size=32)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def plan(place: str | Path) -> pa.Table:
    return pa.concat_tables(open_source(find_place(str(place))).tables)


def read(manifest: pa.Table) -> tuple[list[str], dict[str, str]]:
    """The images that are read, and what is said of the others, all of stage `read`."""
    shard = read_shard(Piece(0, 0, len(manifest)), manifest, RECIPE, 10**6)
    failures = shard.failures.to_pylist()
    assert {row["stage"] for row in failures} <= {"read"}
    return shard.images["image_id"].to_pylist(), {row["image_id"]: row["error"] for row in failures}


class TestOnDisk:
    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        for seed in range(4):
            (tmp_path / f"{seed}.png").write_bytes(png(seed))
        return tmp_path

    def test_what_is_as_it_was_is_read(self, images):
        assert read(plan(images)) == ([f"{n}.png" for n in range(4)], {})

    def test_each_change_is_told_and_costs_its_image_alone(self, images):
        manifest = plan(images)
        size = (images / "0.png").stat().st_size
        (images / "0.png").write_bytes(png(0) + b"!")
        os.utime(images / "1.png", (1e9, 1e9))
        (images / "2.png").unlink()
        there, said = read(manifest)
        assert there == ["3.png"]
        assert said["0.png"] == f"changed since the audit was planned ({size} bytes then, {size + 1} now)"
        assert re.fullmatch(
            r"changed since the audit was planned \(modified 20\S+Z then, 2001-09-09T01:46:40.000000Z now\)",
            said["1.png"],
        )
        assert said["2.png"] == "vanished since the audit was planned"

    def test_a_manifest_says_nothing_of_size_and_time_and_its_images_are_read_as_they_are(self, images):
        rows = "\n".join(f"{n}.png,7,2001-01-01,x" for n in range(4))
        (images / "manifest.csv").write_text(f"uri,size,modified,etag\n{rows}\n")
        manifest = plan(images)
        (images / "0.png").write_bytes(png(5))
        (images / "1.png").unlink()
        there, said = read(manifest)
        assert there == ["0.png", "2.png", "3.png"]
        assert said == {"1.png": "No such file or directory"}

    def test_a_plan_without_etags_is_still_read(self, images):
        assert read(plan(images).drop_columns(["etag"])) == ([f"{n}.png" for n in range(4)], {})

    def test_an_image_of_a_set_that_was_never_there_did_not_vanish(self, images):
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (images / name).mkdir(parents=True)
        (images / "JPEGImages" / "1.jpg").write_bytes(png(1))
        (images / "Annotations" / "1.xml").write_text("<annotation/>")
        (images / "ImageSets/Main/test.txt").write_text("1\n2\n")
        manifest = pa.concat_tables(open_source(find_place(str(images)), "voc", Wanted("test")).tables)
        assert read(manifest) == (["JPEGImages/1.jpg"], {"JPEGImages/2.jpg": "No such file or directory"})


def tar_of(path: Path, seeds: range) -> None:
    with tarfile.open(path, "w") as tar:
        for seed in seeds:
            info = tarfile.TarInfo(f"{seed}.png")
            data = png(seed)
            info.size, info.mtime = len(data), 1234567890
            tar.addfile(info, io.BytesIO(data))


def parquet_of(path: Path, seeds: range) -> None:
    pq.write_table(pa.table({"image": pa.array([png(seed) for seed in seeds], pa.binary())}), path)


@pytest.mark.parametrize(("suffix", "write"), [("tar", tar_of), ("parquet", parquet_of)])
class TestWithinALargerFile:
    def test_a_file_that_changed_costs_its_images_and_no_others(self, tmp_path, suffix, write):
        for number in range(3):
            write(tmp_path / f"{number}.{suffix}", range(3 * number, 3 * number + 3))
        manifest = plan(tmp_path)
        assert len(read(manifest)[0]) == 9
        write(tmp_path / f"0.{suffix}", range(20, 25))
        (tmp_path / f"2.{suffix}").unlink()
        there, said = read(manifest)
        assert [name.partition(".")[0] for name in there] == ["1"] * 3
        assert [name.partition(".")[0] for name in said] == ["0"] * 3 + ["2"] * 3
        lines = list(said.values())
        assert all(re.fullmatch(r"changed since the audit .* \(\d+ bytes then, \d+ now\)", line) for line in lines[:3])
        assert set(lines[3:]) == {"vanished since the audit was planned"}

    def test_one_that_was_named_itself_is_compared_too(self, tmp_path, suffix, write):
        path = tmp_path / f"0.{suffix}"
        write(path, range(3))
        manifest = plan(path)
        assert len(read(manifest)[0]) == 3
        os.utime(path, (1e9, 1e9))
        assert "2001-09-09" in next(iter(read(manifest)[1].values()))

    @pytest.mark.xdist_group("s3")
    def test_in_s3_it_is_compared_by_its_etag(self, bucket, tmp_path, suffix, write):
        write(tmp_path / "a", range(3))
        write(tmp_path / "b", range(3, 6))
        store = open_store(f"s3://{bucket}/data")
        store.write(f"0.{suffix}", (tmp_path / "a").read_bytes())
        manifest = plan(store.root)
        assert len(read(manifest)[0]) == 3
        store.write(f"0.{suffix}", (tmp_path / "b").read_bytes())
        there, said = read(manifest)
        assert there == []
        assert set(said.values()) == {"changed since the audit was planned (its ETag is another)"}


@pytest.mark.xdist_group("s3")
class TestInS3:
    def test_each_change_is_told_and_costs_its_image_alone(self, bucket: str, s3_server: S3Server):
        store = open_store(f"s3://{bucket}/data")
        for seed in range(4):
            store.write(f"{seed}.png", png(seed))
        manifest = plan(store.root)
        etag = s3_server.client().head_object(Bucket=bucket, Key="data/0.png")["ETag"]
        assert manifest["etag"][0].as_py() == etag
        store.write("1.png", png(7))
        store.write("2.png", png(2))  # the same bytes again
        store.delete("3.png")
        there, said = read(manifest)
        assert there == ["0.png", "2.png"]
        assert said == {
            "1.png": "changed since the audit was planned (its ETag is another)",
            "3.png": "vanished since the audit was planned",
        }

    def test_a_mask_is_read_as_it_is(self, bucket: str, tmp_path: Path):
        root = as_voc(tmp_path / "data")
        store = open_store(f"s3://{bucket}/data")
        for path in root.rglob("*"):
            if path.is_file():
                store.write(str(path.relative_to(root)), path.read_bytes())
        mask = io.BytesIO()
        Image.new("P", (96, 80), 8).save(mask, "PNG")
        store.write("VOCdevkit/VOC2007/SegmentationClass/1.png", mask.getvalue())
        manifest = pa.concat_tables(open_source(find_place(store.root), wanted=Wanted(masks=True)).tables)
        shard = read_shard(Piece(0, 0, len(manifest)), manifest, RECIPE, 10**6, masks=True)
        assert len(shard.images["masks"][0].as_py()) == 1


class TestPlacesThatAreLost:
    """What keeps every image from being read is no failure of any: the piece is tried again, or the run ends."""

    @pytest.mark.parametrize("lose", [shutil.rmtree, lambda root: [path.unlink() for path in root.iterdir()]])
    def test_a_disk_that_is_gone_or_not_mounted(self, tmp_path, lose):
        images = tmp_path / "in"
        images.mkdir()
        for seed in range(2):
            (images / f"{seed}.png").write_bytes(png(seed))
        manifest = plan(images)
        lose(images)
        with pytest.raises(PlaceError, match=f"INPUT is gone, or holds nothing any more: '{images}'"):
            read_shard(Piece(0, 0, 2), manifest, RECIPE, 10**6, root=str(images))

    def test_an_image_that_is_gone_alone_is_its_own_failure(self, tmp_path):
        for seed in range(2):
            (tmp_path / f"{seed}.png").write_bytes(png(seed))
        manifest = plan(tmp_path)
        (tmp_path / "0.png").unlink()
        shard = read_shard(Piece(0, 0, 2), manifest, RECIPE, 10**6, root=str(tmp_path))
        assert shard.failures["error"].to_pylist() == ["vanished since the audit was planned"]

    @pytest.mark.xdist_group("s3")
    @pytest.mark.parametrize(
        ("answer", "lost"),
        [
            (Answer(400, b"<Error><Code>ExpiredToken</Code></Error>"), True),
            (Answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>"), True),
            (Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), True),
            (Answer(403, b"<Error><Code>AccessDenied</Code></Error>"), False),
            (Answer(404, b"<Error><Code>NoSuchKey</Code></Error>"), False),
            (Answer(400, b"<Error><Code>SomethingOfThisKey</Code></Error>"), False),  # S3 answers otherwise
        ],
        ids=lambda value: value.body.decode() if isinstance(value, Answer) else "",
    )
    def test_in_s3_it_is_told_by_what_s3_says(self, bucket, s3_server, monkeypatch, answer, lost):
        for seed in range(2):
            open_store(f"s3://{bucket}/in").write(f"{seed}.png", png(seed))
        manifest = plan(f"s3://{bucket}/in")
        with proxy(s3_server.endpoint) as between:
            between.answer = lambda request: answer if "/0.png" in request.path else None
            monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
            if lost:
                with pytest.raises(PlaceError):
                    read(manifest)
            else:
                assert read(manifest)[0] == ["1.png"]

    @pytest.mark.xdist_group("s3")
    def test_a_server_that_answers_nothing_is_lost(self, bucket, s3_server, monkeypatch):
        open_store(f"s3://{bucket}/in").write("0.png", png(0))
        manifest = plan(f"s3://{bucket}/in")
        with proxy(s3_server.endpoint) as between:
            between.answer = lambda _request: Answer(400, b"<Error><Code>Whatever</Code></Error>")
            monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
            with pytest.raises(PlaceError):
                read(manifest)
