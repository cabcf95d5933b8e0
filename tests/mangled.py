"""Image files that are damaged or made to harm: small pictures in many formats, cut, flipped and spliced by a seed."""

import io
import random
from collections.abc import Iterator

from drawings import picture

KINDS: tuple[tuple[str, str, dict], ...] = (
    ("RGB", "JPEG", {}),
    ("RGB", "JPEG", {"progressive": True}),
    ("CMYK", "JPEG", {"quality": 60}),
    ("L", "JPEG", {"progressive": True, "restart_marker_blocks": 2}),
    ("RGB", "PNG", {}),
    ("P", "PNG", {}),
    ("RGBA", "PNG", {"compress_level": 0}),
    ("1", "PNG", {}),
    ("RGB", "WEBP", {}),
    ("RGBA", "WEBP", {"lossless": True}),
    ("P", "GIF", {}),
    ("P", "GIF", {"frames": 3, "disposal": 2}),
    ("RGB", "WEBP", {"frames": 3}),
    ("RGB", "TIFF", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("RGB", "TIFF", {"compression": "tiff_adobe_deflate"}),
    ("RGB", "TIFF", {"compression": "jpeg"}),
    ("RGBA", "TIFF", {"compression": "packbits"}),
    ("1", "TIFF", {"compression": "group4"}),
    ("1", "TIFF", {"compression": "group3"}),
    ("F", "TIFF", {}),
    ("I;16", "TIFF", {"compression": "tiff_lzw"}),
    ("RGB", "TIFF", {"frames": 2, "compression": "zstd"}),
    ("RGB", "BMP", {}),
    ("P", "BMP", {}),
    ("1", "BMP", {}),
    ("RGB", "TGA", {"compression": "tga_rle"}),
    ("RGB", "PPM", {}),
)
"""Mode, format and options of each file that is drawn before it is mangled."""


def originals() -> list[bytes]:
    """Whole files, one of every kind."""
    return [_encoded(seed, *kind) for seed, kind in enumerate(KINDS)]


def mangled(seed: int, count: int) -> Iterator[bytes]:
    """So many files, the same for the same seed."""
    chance = random.Random(seed)
    whole = originals()
    for number in range(count):
        data = bytearray(whole[number % len(whole)])
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            chance.choice(_MANGLERS)(data, chance, whole)
        yield bytes(data)


def _encoded(seed: int, mode: str, kind: str, options: dict) -> bytes:
    frames = [picture(seed + number, (40, 32)) for number in range(options.get("frames", 1))]
    frames = [frame.convert("L").convert(mode) if mode in ("I;16", "F") else frame.convert(mode) for frame in frames]
    rest = {name: value for name, value in options.items() if name != "frames"}
    if len(frames) > 1:
        rest |= {"save_all": True, "append_images": frames[1:]}
    file = io.BytesIO()
    frames[0].save(file, kind, **rest)
    return file.getvalue()


def _place(data: bytearray, chance: random.Random) -> int:
    """Anywhere; half of the time in the first bytes, where formats say what is to come."""
    return chance.randrange(max(1, min(len(data), 128) if chance.random() < 0.35 else len(data)))


def _cut(data: bytearray, chance: random.Random, _whole: list[bytes]) -> None:
    del data[_place(data, chance) :]


def _flip_bits(data: bytearray, chance: random.Random, _whole: list[bytes]) -> None:
    for _ in range(chance.choice((1, 1, 3, 20))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _set_bytes(data: bytearray, chance: random.Random, _whole: list[bytes]) -> None:
    """The values at which sizes and offsets overflow."""
    value = chance.choice(
        (b"\0", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\0" * 4)
    )
    start = _place(data, chance)
    data[start : start + len(value)] = value


def _drop(data: bytearray, chance: random.Random, _whole: list[bytes]) -> None:
    start = _place(data, chance)
    del data[start : start + chance.choice((1, 2, 16, 200))]


def _repeat(data: bytearray, chance: random.Random, _whole: list[bytes]) -> None:
    start = _place(data, chance)
    data[start:start] = data[start : start + chance.choice((1, 12, 64, 512))] * chance.choice((1, 2, 50))


def _splice(data: bytearray, chance: random.Random, whole: list[bytes]) -> None:
    """Go on as another file does, of this format or of another."""
    other = chance.choice(whole)
    data[_place(data, chance) :] = other[chance.randrange(len(other)) :]


_MANGLERS = (_cut, _flip_bits, _flip_bits, _set_bytes, _set_bytes, _drop, _repeat, _splice)
