"""Freed memory is reused instead of handed back and fetched again."""

import subprocess
import sys

_COUNT_FAULTS = """
import ctypes, resource, sys
import torch
if sys.argv[1] == "kept":
    from igcam_batch.worker.allocator import keep_freed_memory
    if not keep_freed_memory():
        print("not glibc"); raise SystemExit
def work():
    for _ in range(50):
        torch.ones(8 * 2**20)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", _COUNT_FAULTS, mode], check=True, capture_output=True, text=True
    ).stdout


def test_no_page_is_fetched_twice() -> None:
    kept = faults("kept").strip()
    if kept != "not glibc":
        assert int(kept) < 100 < int(faults("plain"))
