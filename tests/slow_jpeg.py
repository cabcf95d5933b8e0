"""A small JPEG that takes its decoder as long as one likes."""

import struct


def slow_jpeg(scans: int, side: int = 2048) -> bytes:
    """A grey progressive JPEG of so many scans, each of which goes through all its blocks and changes nothing."""
    blocks = (side // 8) ** 2
    frame = struct.pack(">BHHB3B", 8, side, side, 1, 1, 0x11, 0)
    tables = b"".join(
        _segment(0xC4, bytes([table, 1, *[0] * 15, symbol])) for table, symbol in ((0x00, 0x00), (0x10, 0xE0))
    )  # each of one symbol, of one bit: no difference in DC, and the end of 2^14 blocks in AC
    dc = _scan(0, 0, blocks)
    ac = _scan(1, 63, 15 * (blocks >> 14))
    return (
        b"\xff\xd8"
        + _segment(0xDB, bytes([0] + [1] * 64))
        + _segment(0xC2, frame)
        + tables
        + dc
        + ac * scans
        + b"\xff\xd9"
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _scan(first: int, last: int, bits: int) -> bytes:
    return _segment(0xDA, bytes([1, 1, 0x00, first, last, 0])) + bytes(-(-bits // 8))
