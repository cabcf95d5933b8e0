"""Run as a program: decode mangled files, and say what became of them. Its end is what `test_fuzz.py` looks at."""

import faulthandler
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from mangled import mangled

from igcam_batch.images import DecodeError, decode

MOST_PIXELS = 2_000_000
MEMORY = 768 << 20  # bytes of address space beyond what the program has before it begins
SECONDS = 5  # for one file


def main(seed: int, count: int, kept: Path) -> None:
    """Decode `count` files; `kept` always holds the one at hand, so that it is there when the process is not."""
    _limit_memory()
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    slowest = 0.0
    for data in mangled(seed, count):
        kept.write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        began = time.perf_counter()
        try:
            image = decode(data, MOST_PIXELS)
        except DecodeError as error:
            counts["refused"] += 1
            said = str(error)
            assert said, "an error without a word"
            assert said.isprintable(), f"not one printable line: {said!r}"
            refusals[said.partition(":")[0][:30]] += 1
        else:
            counts["decoded"] += 1
            assert image.mode == "RGB", image.mode
            assert 0 < image.width * image.height <= MOST_PIXELS, image.size
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.perf_counter() - began)
    kept.unlink()
    sys.stdout.write(json.dumps({**counts, "slowest": slowest, "refusals": refusals}))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    faulthandler.enable()
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
