"""Decoding, which is faster than explaining, waits for it, and does not fill memory or the disk meanwhile."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

STORE = 80 * 2**20  # bytes; Ray wants no less
IMAGES, OF_EACH = 512, 3 * 384 * 384  # bytes, decoded


def test_decoded_shards_neither_fill_the_object_store_nor_spill(pictures: Callable[..., Path], tmp_path: Path) -> None:
    images = pictures("000.png")
    for number in range(1, IMAGES):
        shutil.copy(images / "000.png", images / f"{number:03}.png")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", _AUDIT, str(images), str(tmp_path / "out"), str(STORE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
    found = json.loads(done.stdout)
    assert found["scored"] == IMAGES
    assert IMAGES * OF_EACH > 2 * STORE
    assert 0 < max(found["used"]) < 0.8 * STORE
    assert found["spilled"] == 0


_AUDIT = """
import json, sys, threading
import ray
from ray._private.internal_api import node_stats
from igcam_batch.audit.job import run_audit
from igcam_batch.config import load_config

images, output, store = sys.argv[1:]
ray.init(num_cpus=2, object_store_memory=int(store), include_dashboard=False)
(node,) = ray.nodes()
used, ended = [], threading.Event()

def stats():
    return node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False).store_stats

def look():
    while not ended.wait(0.2):
        used.append(stats().object_store_bytes_used)

looking = threading.Thread(target=look)
looking.start()
settings = {"model": "factories:slow_and_large", "method": "grad-cam", "shard-size": 16, "batch-size": 16}
try:
    summary = run_audit(load_config({"input": images, "output": output} | settings))
finally:
    ended.set()
    looking.join()
spilled = stats().spilled_bytes_total
print(json.dumps({"scored": summary.status.scored, "used": used, "spilled": spilled}))
"""
