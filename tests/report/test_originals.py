"""The images behind a run's rows: found by their ids, and brought to what the model saw."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from datasets import BOXES, LAYOUTS, NAMES
from drawings import picture
from finished_runs import finished_run
from PIL import Image
from s3_server import S3Server

from igcam_batch.errors import InputError
from igcam_batch.report.originals import Original, Originals


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    picture(seed).save(sink, "PNG")
    return sink.getvalue()


def loaded(originals: Originals) -> list[Original]:
    found = [original for _, original in originals.load(originals.first(10).values())]
    assert all(isinstance(original, Original) for original in found)
    return found


def test_pixels_and_boxes_are_those_of_the_model_s_input(tmp_path: Path) -> None:
    output = finished_run(LAYOUTS["voc"](tmp_path / "voc"), tmp_path / "out")
    found = loaded(Originals(output))
    assert len(found) == 3
    for name, box, original in zip(NAMES, BOXES, found, strict=True):
        with Image.open(tmp_path / "voc" / "VOCdevkit" / "VOC2007" / "JPEGImages" / name) as image:
            expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(original.pixels, expected)
        assert (original.width, original.height) == (96, 80)
        carried = original.boxes[0]
        sides = [carried.left * 3, carried.top * 2.5, carried.right * 3, carried.bottom * 2.5]
        assert sides == pytest.approx(box)
    assert [[box.label for box in original.boxes] for original in found] == [["cat"], ["dog"], ["cat", "eel"]]


@pytest.mark.parametrize("layout", ["parquet", "webdataset"])
def test_images_within_larger_files_are_found_too(tmp_path: Path, layout: str) -> None:
    output = finished_run(LAYOUTS[layout](tmp_path / layout), tmp_path / "out")
    assert [original.pixels.shape for original in loaded(Originals(output))] == [(32, 32, 3)] * 3


def test_rows_are_found_by_id_or_by_shard(tmp_path: Path) -> None:
    originals = Originals(finished_run(LAYOUTS["voc"](tmp_path / "voc"), tmp_path / "out"))
    every = list(originals.first(10))
    assert list(originals.of_shard(0)) + list(originals.of_shard(1)) == every
    assert list(originals.of_shard(1)) == every[2:]
    assert originals.find([every[2], "no such image", every[0]]) == {
        name: originals.first(10)[name] for name in (every[0], every[2])
    }


def test_what_is_gone_changed_or_broken_costs_itself_alone(tmp_path: Path) -> None:
    directory = LAYOUTS["voc"](tmp_path / "voc") / "VOCdevkit" / "VOC2007" / "JPEGImages"
    originals = Originals(finished_run(tmp_path / "voc", tmp_path / "out"))
    (directory / "1.png").unlink()
    os.utime(directory / "2.png", (1, 1))
    found = [original for _, original in originals.load(originals.first(10).values())]
    assert [isinstance(original, OSError) for original in found] == [True, True, False]
    assert "vanished since" in str(found[0])
    assert "changed since" in str(found[1])


def test_a_dataset_that_is_gone_as_a_whole_is_said_of_each_image(tmp_path: Path) -> None:
    LAYOUTS["voc"](tmp_path / "voc")
    output = finished_run(tmp_path / "voc", tmp_path / "out")
    (tmp_path / "voc").rename(tmp_path / "elsewhere")
    originals = Originals(output)
    found = [original for _, original in originals.load(originals.first(10).values())]
    assert [isinstance(original, FileNotFoundError) for original in found] == [True] * 3


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no audit"):
        Originals(str(tmp_path))


@pytest.mark.xdist_group("s3")
def test_a_bucket_that_is_gone_is_said_of_each_image_too(bucket: str, s3_server: S3Server, tmp_path: Path) -> None:
    client, gone = s3_server.client(), f"{bucket}-2"
    client.create_bucket(Bucket=gone)
    for number in range(3):
        client.put_object(Bucket=gone, Key=f"in/{number}.png", Body=png(number))
    originals = Originals(finished_run(f"s3://{gone}/in", tmp_path / "out", target="predicted"))
    client.delete_bucket(Bucket=gone)
    found = [original for _, original in originals.load(originals.first(10).values())]
    assert [isinstance(original, OSError) for original in found] == [True] * 3
