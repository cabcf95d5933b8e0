"""Bytes of an image file to an 8-bit RGB image, the right way up."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "TGA")
# No others, whatever a file is called: PIL would hand an EPS to Ghostscript, which runs it as a program.

_WIDE_MODES = ("I", "F")  # and every I;16 variant: more than 8 bits a channel, which PIL would clip


class DecodeError(ValueError):
    """The bytes are no image that can be explained; the message says why."""


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode the first frame of an image file.

    Colour is what torchvision's loader gives a model in training: palettes are looked up, grey is repeated, CMYK is
    converted, alpha is dropped. EXIF orientation is applied. Channels of 16 bits are scaled to 8, not clipped.

    Args:
        data: the whole file.
        max_pixels: the largest width × height that is decoded.

    Returns:
        A PIL image in mode RGB.

    Raises:
        DecodeError: empty, truncated, damaged, not an image, or too large.
    """
    if not data:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bomb below our limit is no news; nor is odd metadata
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DecodeError(f"{width} x {height} pixels are more than --max-pixels {max_pixels}")
                if not width or not height:
                    raise DecodeError(f"the image is {width} x {height} pixels")
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(f"not an image that can be read, as {', '.join(_FORMATS)}, or a damaged one") from None
    except Image.DecompressionBombError:
        raise DecodeError(f"more pixels than --max-pixels {max_pixels}") from None
    except Exception as error:  # decoders raise nearly anything on damaged input: OSError, SyntaxError, struct.error
        raise DecodeError(f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_MODES or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(image)).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> np.ndarray:
    """(H, W) uint8 from a grey image of 16 or 32 bits: integers as 16-bit (as PNG and TIFF hold them), floats 0..1.

    Floats beyond 1 are taken as already on the scale 0..255.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    full = (1 if values.max(initial=0) <= 1 else 255) if image.mode == "F" else 65535
    return np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8)
