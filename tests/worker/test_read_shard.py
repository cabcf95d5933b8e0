"""A shard read and decoded: broken images cost themselves alone, and boxes go with the pixels."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawings import picture
from PIL import Image

from igcam_batch.images import Recipe
from igcam_batch.sources import Box, ImageRow, manifest_table
from igcam_batch.tables import DECODED, Piece
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.read import read_shard

RECIPE = Recipe(size=32, resize="crop", resize_size=40)
LIMIT = 100_000


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shard(tmp_path: Path):
    """Read files as one shard; None: a file that is not there."""

    def read(*files: bytes | None, boxes: tuple[Box, ...] = (), labels: tuple[str, ...] = ()) -> DecodedShard:
        rows = []
        for number, data in enumerate(files):
            if data is not None:
                (tmp_path / f"{number}.png").write_bytes(data)
            rows.append(ImageRow(f"{number}.png", f"{tmp_path}/{number}.png", labels=labels, boxes=boxes))
        return read_shard(Piece(5, 0, len(rows)), manifest_table(rows), RECIPE, LIMIT)

    return read


def same(one: DecodedShard, other: DecodedShard) -> bool:
    return (
        one.piece == other.piece
        and one.images.equals(other.images, check_metadata=True)
        and one.failures.equals(other.failures, check_metadata=True)
        and one.pixels.dtype == other.pixels.dtype
        and np.array_equal(one.pixels, other.pixels)
    )


class TestReadShard:
    def test_images_come_in_the_order_of_the_plan_at_the_models_size(self, shard):
        pictures = [picture(seed) for seed in range(4)]
        decoded = shard(*map(png, pictures))
        assert decoded.piece.shard == 5
        assert decoded.images["image_id"].to_pylist() == ["0.png", "1.png", "2.png", "3.png"]
        assert (decoded.pixels == np.stack([RECIPE.pixels(each) for each in pictures])).all()
        assert len(decoded.failures) == 0

    def test_broken_images_fail_each_for_its_reason_and_their_neighbours_go_on(self, shard, tmp_path):
        (tmp_path / "5.png").mkdir()
        good = [picture(1), picture(2), picture(3)]
        decoded = shard(
            png(good[0]),
            None,
            b"",
            png(good[1]),
            png(picture(4))[:-500],
            None,
            b"<html>not found</html>",
            png(Image.new("RGB", (1000, 101))),
            png(Image.new("RGB", (99_000, 1))),
            png(good[2]),
        )
        assert decoded.images["image_id"].to_pylist() == ["0.png", "3.png", "9.png"]
        assert (decoded.pixels == np.stack([RECIPE.pixels(each) for each in good])).all()
        failures = decoded.failures.to_pylist()
        assert [(row["image_id"], row["stage"]) for row in failures] == [
            ("1.png", "read"),
            ("2.png", "decode"),
            ("4.png", "decode"),
            ("5.png", "read"),
            ("6.png", "decode"),
            ("7.png", "decode"),
            ("8.png", "decode"),
        ]
        reasons = [
            "No such file",
            "empty",
            "truncated",
            "directory",
            "not an image",
            f"--max-pixels {LIMIT}",
            "--resize stretch",
        ]
        assert [reason for reason, row in zip(reasons, failures, strict=True) if reason not in row["error"]] == []
        assert {row["uri"] for row in failures} == {f"{tmp_path}/{n}.png" for n in (1, 2, 4, 5, 6, 7, 8)}
        assert {row["attempts"] for row in failures} == {1}

    def test_a_shard_of_broken_images_alone_keeps_its_shapes(self, shard):
        decoded = shard(None, b"")
        assert decoded.pixels.shape == (0, 3, 32, 32)
        assert decoded.pixels.dtype == np.uint8
        assert decoded.images.schema.equals(DECODED)
        assert len(decoded.failures) == 2

    def test_boxes_and_labels_go_with_the_image_into_the_models_input(self, shard):
        """80 x 40 becomes 80 x 40, of which the centre 32 x 32 begins at (24, 4)."""
        boxes = (Box("cat", 30, 10, 50, 30), Box("dog", 0, 0, 10, 10))
        decoded = shard(png(Image.new("RGB", (80, 40))), boxes=boxes, labels=("cat", "dog"))
        [row] = decoded.images.to_pylist()
        assert row["labels"] == ["cat", "dog"]
        assert row["boxes"] == [
            {"left": 6, "top": 6, "right": 26, "bottom": 26, "label": "cat"},
            {"left": 0, "top": 0, "right": 0, "bottom": 6, "label": "dog"},
        ]

    def test_width_and_height_are_of_the_picture_as_it_is_seen(self, shard):
        exif = Image.Exif()
        exif[274] = 6  # a camera held upright
        file = io.BytesIO()
        Image.new("RGB", (80, 60)).save(file, "JPEG", exif=exif)
        [row] = shard(file.getvalue()).images.to_pylist()
        assert (row["width"], row["height"]) == (60, 80)

    def test_names_with_anything_in_them_are_read(self, tmp_path):
        names = ["a b.png", "ä#?%20.png", "it's\n.png", "s3:", "~"]
        rows = []
        for name in names:
            path = tmp_path / "~" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(picture(0)))
            rows.append(ImageRow(name, str(path)))
        decoded = read_shard(Piece(0, 0, len(rows)), manifest_table(rows), RECIPE, LIMIT)
        assert decoded.images["image_id"].to_pylist() == names

    def test_a_process_that_decodes_loads_no_torch(self):
        program = "import sys, igcam_batch.worker.read; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
        subprocess.run([sys.executable, "-c", program], check=True)


class TestDecodedShard:
    @pytest.mark.parametrize("files", [0, 1, 3])
    def test_comes_back_from_a_row_as_it_was(self, shard, files):
        boxes = (Box("cat", 1, 2, 3.5, 4),)
        decoded = shard(*(png(picture(seed)) for seed in range(files)), None, boxes=boxes, labels=("cat",))
        assert len(decoded.images) == files
        assert same(DecodedShard.from_row(decoded.to_row()), decoded)

    def test_of_nothing_at_all_comes_back_too(self):
        nothing = DecodedShard.nothing(Piece(3, 6, 8))
        assert same(DecodedShard.from_row(nothing.to_row()), nothing)

    def test_a_row_holds_plain_values(self, shard):
        row = shard(png(picture(0)), None).to_row()
        assert {name: type(value) for name, value in row.items()} == {
            "shard": int,
            "start": int,
            "stop": int,
            "revision": int,
            "whole": bool,
            "images": bytes,
            "failures": bytes,
            "size": int,
            "pixels": bytes,
        }
