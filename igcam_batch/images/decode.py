"""Bytes of an image file to an 8-bit RGB image, the right way up."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from igcam_batch.words import printable

_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "TGA")
# No others, whatever a file is called: PIL would hand an EPS to Ghostscript, which runs it as a program.

_WIDE_MODES = ("I", "F")  # and every I;16 variant: more than 8 bits a channel, which PIL would clip
_BAND = 1 << 20  # pixels of those at a time, as each takes 8 bytes on its way to one
_LONGEST = 300  # characters of what a decoder says


class DecodeError(ValueError):
    """The bytes are no image that can be explained; the message says why."""


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode the first frame of an image file.

    Colour is what torchvision's loader gives a model in training: palettes are looked up, grey is repeated, CMYK is
    converted, alpha is dropped. EXIF orientation is applied. Channels of 16 bits are scaled to 8, not clipped.

    Args:
        data: the whole file.
        max_pixels: the largest width × height that is decoded. It holds too for what a file makes a decoder ask for
            on the way, as a TIFF its tiles and a GIF its frames.

    Returns:
        A PIL image in mode RGB.

    Raises:
        DecodeError: empty, truncated, damaged, not an image, or too large.
    """
    if not data:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings(), _at_most(max_pixels):
            warnings.simplefilter("ignore")  # a bomb below our limit is no news; nor is odd metadata
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DecodeError(f"{width} x {height} pixels are more than --max-pixels {max_pixels}")
                if not width or not height:
                    raise DecodeError(f"the image is {width} x {height} pixels")
                _refuse_large_tiles(image, max_pixels)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(f"not an image that can be read, as {', '.join(_FORMATS)}, or a damaged one") from None
    except Image.DecompressionBombError:
        raise DecodeError(f"more pixels than --max-pixels {max_pixels}") from None
    except Exception as error:  # decoders raise nearly anything on damaged input: OSError, SyntaxError, struct.error
        raise DecodeError(_one_line(error)) from error


@contextmanager
def _at_most(max_pixels: int) -> Iterator[None]:
    """Have PIL's own checks, some before a size can be asked for, be about that number: it raises beyond twice it."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_large_tiles(image: Image.Image, max_pixels: int) -> None:
    """A TIFF of 16 x 16 pixels may say that they lie in one tile of 65536 x 65536, which libtiff would unpack."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    width, height = (int(tags.get(tag, 0)) for tag in (TILEWIDTH, TILELENGTH))
    if width * height > max_pixels:
        raise DecodeError(f"a tile of {width} x {height} pixels is more than --max-pixels {max_pixels}")


def _one_line(error: Exception) -> str:
    """What a decoder says, which may quote the file: in one line of printable characters."""
    return f"{type(error).__name__}: {' '.join(printable(str(error)).split())[:_LONGEST]}".removesuffix(": ")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_MODES or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(image)).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> np.ndarray:
    """(H, W) uint8 from a grey image of 16 or 32 bits: integers as 16-bit (as PNG and TIFF hold them), floats 0..1.

    Floats beyond 1 are taken as already on the scale 0..255.
    """
    values = np.asarray(image)
    full = 65535.0
    if image.mode == "F":
        full = 1 if np.nanmax(values, initial=0) <= 1 else 255
    rows = max(1, _BAND // image.width)
    result = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, image.height, rows):
        band = np.nan_to_num(values[start : start + rows].astype(np.float64))
        result[start : start + rows] = np.clip(np.rint(band * (255 / full)), 0, 255)
    return result
