"""Bytes to RGB: every colour model, the right way up, and a plain word for what is broken or hostile."""

import io
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from igcam_batch.images import DecodeError, decode

LIMIT = 10_000_000


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, max_pixels: int = LIMIT) -> np.ndarray:
    image = decode(data, max_pixels)
    assert image.mode == "RGB"
    return np.asarray(image)


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


GREY = np.arange(240, dtype=np.uint8).reshape(12, 20)
RGB = noise(12, 20, 3)


class TestColour:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TGA", {}), ("PPM", {}), ("WEBP", {"lossless": True})],
    )
    def test_rgb_comes_back_as_it_was_stored(self, kind, options):
        assert (decoded(encoded(RGB, kind, **options)) == RGB).all()

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
    def test_grey_is_repeated_in_three_channels(self, kind):
        assert (decoded(encoded(GREY, kind)) == repeated(GREY)).all()

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
    def test_a_jpeg_is_what_torchvisions_loader_gives(self, tmp_path, mode):
        from torchvision.datasets.folder import pil_loader

        data = encoded(Image.fromarray(RGB).convert(mode), "JPEG", quality=80)
        (tmp_path / "a.jpg").write_bytes(data)
        assert (decoded(data) == np.asarray(pil_loader(tmp_path / "a.jpg"))).all()

    @pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255])])
    def test_a_palette_is_looked_up_whatever_is_transparent(self, transparency):
        indices = noise(12, 20) % 8
        colours = noise(8, 3)
        image = Image.fromarray(indices)
        image.putpalette(colours.tobytes())
        options = {} if transparency is None else {"transparency": transparency}
        assert (decoded(encoded(image, **options)) == colours[indices]).all()

    def test_alpha_is_dropped(self):
        assert (decoded(encoded(np.dstack([RGB, noise(12, 20)]))) == RGB).all()
        assert (decoded(encoded(Image.fromarray(np.dstack([GREY, noise(12, 20)]), "LA"))) == repeated(GREY)).all()

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_of_several_frames_the_first_is_the_image(self, kind):
        first, second = (Image.new("RGB", (20, 12), colour) for colour in ("red", "blue"))
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        with Image.open(io.BytesIO(data)) as whole:
            assert whole.n_frames == 2
        assert (decoded(data) == np.asarray(first)).all()

    @pytest.mark.parametrize(
        ("ink", "seen"),
        [
            ((255, 0, 0, 0), (0, 255, 255)),
            ((0, 255, 0, 0), (255, 0, 255)),
            ((0, 0, 255, 0), (255, 255, 0)),
            ((0, 0, 0, 255), (0, 0, 0)),
            ((0, 0, 0, 0), (255, 255, 255)),
        ],
    )
    def test_cmyk_as_adobe_stores_it_inverted_has_the_colour_of_its_inks(self, ink, seen):
        data = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
        assert b"Adobe" in data
        assert np.abs(decoded(data).astype(int) - seen).max() <= 3

    @pytest.mark.parametrize(("kind", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">"), ("PPM", "<")])
    def test_16_bits_are_scaled_not_clipped(self, kind, order):
        values = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
        found = decoded(encoded(values.astype(f"{order}u2"), kind))
        assert (found == repeated(np.rint(values / 257).astype(np.uint8))).all()

    def test_16_bits_in_three_channels_are_scaled(self):
        values = np.array([[[0, 32896, 65535]]], dtype=">u2")
        assert decoded(b"P6\n1 1\n65535\n" + values.tobytes()).tolist() == [[[0, 128, 255]]]

    def test_32_bit_integers_are_taken_as_the_16_bits_that_files_hold(self):
        values = np.linspace(0, 65535, 240).astype(np.int32).reshape(12, 20)
        found = decoded(encoded(values, "TIFF"))
        assert (found == repeated(np.rint(values / 257).astype(np.uint8))).all()

    def test_floats_up_to_1_are_scaled_and_beyond_it_are_grey_levels(self):
        values = np.linspace(0, 1, 240).astype(np.float32).reshape(12, 20)
        expected = repeated(np.rint(values * 255).astype(np.uint8))
        assert (decoded(encoded(values, "TIFF")) == expected).all()
        assert (decoded(encoded(values * 255, "TIFF")) == expected).all()

    def test_floats_that_are_no_numbers_are_black(self):
        values = np.array([[np.nan, 0.0, 1.0, -5.0]], dtype=np.float32)
        assert decoded(encoded(values, "TIFF"))[..., 0].tolist() == [[0, 0, 255, 0]]

    def test_one_bit_is_black_and_white(self):
        bits = noise(12, 20) > 127
        assert (decoded(encoded(Image.fromarray(bits))) == repeated(bits * np.uint8(255))).all()


# How row and column 0 of the upright picture are stored, by EXIF's orientation (CIPA DC-008, tag 274).
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


class TestOrientation:
    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    def test_the_picture_comes_out_upright(self, kind, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        stored = np.ascontiguousarray(STORED[orientation](RGB))
        assert (decoded(encoded(stored, kind, exif=exif, **options)) == RGB).all()

    @pytest.mark.parametrize("orientation", STORED)
    def test_a_jpeg_too(self, orientation):
        upright = np.kron(noise(2, 3, 3), np.ones((16, 16, 1), dtype=np.uint8))
        exif = Image.Exif()
        exif[274] = orientation
        stored = np.ascontiguousarray(STORED[orientation](upright))
        found = decoded(encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif))
        assert found.shape == upright.shape
        assert np.abs(found.astype(int) - upright).max() <= 5

    @pytest.mark.parametrize("exif", [b"Exif\x00\x00nonsense", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"Exif\x00\x00"])
    def test_a_damaged_tag_costs_nothing_but_itself(self, exif):
        assert (decoded(encoded(RGB, "JPEG", exif=exif)) == decoded(encoded(RGB, "JPEG"))).all()


class TestFrames:
    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
    def test_the_first_of_several_is_taken(self, kind):
        first, second = (Image.new("RGB", (20, 12), colour) for colour in ("red", "blue"))
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        assert np.abs(decoded(data).astype(int) - (255, 0, 0)).max() <= 2


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_declares(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refusal(data: bytes, max_pixels: int = LIMIT) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels)
    return str(caught.value)


class TestWhatIsRefused:
    def test_an_empty_file(self):
        assert refusal(b"") == "the file is empty"

    @pytest.mark.parametrize("data", [b"hello", b"<html></html>" * 100, b"\0" * 5000, b"\xff\xd8\xff"])
    def test_what_is_no_image(self, data):
        assert "not an image" in refusal(data)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
    def test_a_truncated_image(self, kind, kept):
        data = encoded(noise(64, 64, 3), kind)
        assert refusal(data[: int(kept * len(data))])

    def test_a_damaged_image(self):
        data = bytearray(encoded(noise(64, 64, 3), "PNG"))
        data[len(data) // 2] ^= 0xFF
        assert refusal(bytes(data))

    @pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (12_000, 12_000)])
    def test_an_absurd_number_of_pixels_before_any_is_decoded(self, size, monkeypatch):
        def allocate(*_arguments: object) -> None:
            raise AssertionError("memory was asked for")

        monkeypatch.setattr(Image.core, "new", allocate)
        monkeypatch.setattr(Image.core, "fill", allocate)
        started = time.monotonic()
        assert f"--max-pixels {LIMIT}" in refusal(png_that_declares(*size))
        assert time.monotonic() - started < 1

    def test_one_pixel_more_than_the_limit(self):
        data = encoded(noise(10, 20, 3))
        assert decode(data, 200).size == (20, 10)
        assert refusal(data, 199) == "20 x 10 pixels are more than --max-pixels 199"

    def test_a_side_without_pixels(self):
        assert refusal(png_that_declares(0, 10))
        assert refusal(b"P5\n0 10\n255\n")
        assert refusal(b"GIF89a\x00\x00\x05\x00\x00\x00\x00,\x00\x00\x00\x00\x00\x00\x05\x00\x00\x02\x00\x00;")

    def test_a_program_in_postscript_is_not_run(self, monkeypatch):
        from PIL import EpsImagePlugin

        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was run"))
        program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
        assert "not an image" in refusal(program)

    @given(st.binary(max_size=200))
    def test_whatever_the_bytes_are_it_is_an_image_or_a_decode_error(self, data):
        for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"BM", b"RIFF"):
            with suppress(DecodeError):
                assert decode(head + data, LIMIT).mode == "RGB"

    @settings(max_examples=60)
    @given(
        st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM"]),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    )
    def test_whatever_is_damaged_it_is_an_image_or_a_decode_error(self, kind, damage):
        data = bytearray(encoded(RGB, kind))
        for place, value in damage:
            data[int(place * len(data))] = value
        with suppress(DecodeError):
            assert decode(bytes(data), LIMIT).mode == "RGB"
