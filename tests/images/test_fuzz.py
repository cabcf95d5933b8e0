"""Thousands of damaged files: each is an image or a DecodeError of one line, in bounded time and memory."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from drawings import picture
from mangled import KINDS, mangled, originals

from igcam_batch.images import DecodeError, decode

FILES = 8_000
PROGRAM = Path(__file__).with_name("fuzz.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROGRAM.parents[1])}
LIMIT = 1_000_000


def test_the_same_seed_gives_the_same_files_and_before_it_all_are_whole() -> None:
    assert list(mangled(3, 60)) == list(mangled(3, 60)) != list(mangled(4, 60))
    assert [decode(data, LIMIT).size for data in originals()] == [(40, 32)] * len(KINDS)


def test_a_mangled_file_is_an_image_or_one_line_and_never_the_end_of_the_process(tmp_path: Path) -> None:
    """In a process of its own with little memory; should it die or hang, the file that did it is kept."""
    at_hand = tmp_path / "at_hand"
    ran = subprocess.run(
        [sys.executable, PROGRAM, "2026", str(FILES), at_hand],
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    if at_hand.exists():
        kept = Path(shutil.copy(at_hand, Path.cwd() / "fuzz-culprit.log"))
        pytest.fail(f"exit code {ran.returncode}; the file is {kept}\n{ran.stderr[-3000:]}")
    said = json.loads(ran.stdout)
    assert said["decoded"] + said["refused"] == FILES
    assert min(said["decoded"], said["refused"]) > FILES // 10, "the files are not mangled as they should be"


def test_the_program_that_watches_sees_a_file_that_ends_the_process(tmp_path: Path) -> None:
    """Otherwise the test above would pass for nothing."""
    at_hand = tmp_path / "at_hand"
    died = "import fuzz, os; fuzz.decode = lambda *_: os.abort(); fuzz.main(0, 10, fuzz.Path(fuzz.sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", died, at_hand], cwd=PROGRAM.parent, capture_output=True, timeout=60, env=ENVIRONMENT
    )
    assert ran.returncode
    assert at_hand.read_bytes() == next(mangled(0, 1))


_MEASURED = """
import resource, sys
from igcam_batch.images import DecodeError, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(decode(open(sys.argv[1], "rb").read(), int(sys.argv[2])).size)
except DecodeError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def outcome(data: bytes, tmp_path: Path) -> tuple[str, int]:
    """What `decode` says of a file in a process of its own, and how many MiB that took."""
    (tmp_path / "file").write_bytes(data)
    command = [sys.executable, "-c", _MEASURED, tmp_path / "file", str(LIMIT)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said, mebibytes = ran.stdout.splitlines()
    return said, int(mebibytes)


def tiff(**tags: int | bytes) -> bytes:
    """A grey TIFF of 16 x 16 pixels, with what `tags` say in place of, or beside, what is so; bytes are the pixels."""
    pixels = tags.pop("pixels", zlib.compress(bytes(256)))
    assert isinstance(pixels, bytes)
    said = {"256": 16, "257": 16, "258": 8, "259": 8, "262": 1, "277": 1} | {
        name.removeprefix("tag"): value for name, value in tags.items()
    }
    tiled = "322" in said
    said |= {"324" if tiled else "273": 8, "325" if tiled else "279": len(pixels)}
    entries = b"".join(struct.pack("<HHII", int(tag), 4, 1, said[tag]) for tag in sorted(said, key=int))
    directory = struct.pack("<H", len(said)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(6)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """An extended WebP that says its canvas is so large, and holds one small frame."""
    canvas = bytes([2, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", len(canvas)) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def gif(screen: tuple[int, int], frame: tuple[int, int], disposal: int = 0) -> bytes:
    """A GIF whose first frame may be larger than its screen."""
    control = b"!\xf9\x04" + bytes([disposal << 2 | 1, 0, 0, 0, 0])
    place = struct.pack("<HHHHB", 0, 0, *frame, 0)
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6) + control + b"," + place + b"\x02\x00;"


BOMBS = {
    "one TIFF tile of 8000 x 8000": tiff(tag322=8000, tag323=8000, pixels=zlib.compress(bytes(64_000_000), 1)),
    "a TIFF of 65535 x 65535": tiff(tag256=65535, tag257=65535),
    "a WebP canvas of 16000 x 16000": webp(16000, 16000),
    "a WebP canvas of 16777216 x 200": webp(1 << 24, 200),
    "a GIF of 65535 x 65535": gif((65535, 65535), (1, 1)),
    "a GIF frame beyond its screen": gif((1, 1), (65535, 65535)),
    "a GIF frame that is to be disposed of": gif((1, 1), (12000, 12000), disposal=2),
    "a BMP of 30000 x 30000": b"BM"
    + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    "a PPM of 30000 x 30000": b"P6\n30000 30000\n255\n",
    "a JPEG of 65500 x 65500": b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\x00\xff\xda" + bytes(99),
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_a_file_says_of_its_size_is_looked_at_before_memory_is_asked_for(what: str, tmp_path: Path) -> None:
    said, mebibytes = outcome(BOMBS[what], tmp_path)
    assert f"--max-pixels {LIMIT}" in said
    assert mebibytes < 30


@pytest.mark.parametrize(
    "bomb",
    [
        png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 1))),
        png(chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(100_000_000), 1))),
        png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000), 1))),
        png(*[chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9))] * 300),
    ],
    ids=["text", "international text", "colour profile", "many texts"],
)
def test_a_png_of_little_that_unpacks_to_much_costs_little(bomb: bytes, tmp_path: Path) -> None:
    said, mebibytes = outcome(bomb, tmp_path)
    assert "too large" in said or "MAX_TEXT" in said or "Too much memory" in said
    assert mebibytes < 120  # PIL keeps 64 MiB of texts at most


def test_a_tiff_of_more_pixels_in_its_second_frame_gives_its_first(tmp_path: Path) -> None:
    first, second = picture(1, (40, 32)), picture(2, (3000, 2000))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert decode((tmp_path / "a.tif").read_bytes(), LIMIT).size == (40, 32)


def test_16_bits_at_the_limit_take_a_few_bytes_a_pixel(tmp_path: Path) -> None:
    side = 1000
    pixels = b"\x12\x34" * (side * side)
    said, mebibytes = outcome(b"P5\n1000 1000\n65535\n" + pixels, tmp_path)
    assert said == "(1000, 1000)"
    assert mebibytes < 48


def test_what_a_decoder_quotes_of_a_file_comes_in_printable_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object, **__: object) -> None:
        raise OSError("line\n\x1b[31mtwo\0" + "x" * 9999)

    monkeypatch.setattr("PIL.Image.open", odd)
    with pytest.raises(DecodeError) as caught:
        decode(b"x", LIMIT)
    assert str(caught.value).startswith("OSError: line [31mtwo xxx")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
