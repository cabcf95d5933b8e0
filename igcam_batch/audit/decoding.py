"""The Ray task that reads and decodes a shard, on CPUs. Loads no torch."""

from typing import Any

from igcam_batch.audit.environment import settle
from igcam_batch.audit.work import Work
from igcam_batch.storage import open_store
from igcam_batch.tables.plan import read_plan
from igcam_batch.worker.read import read_shard


def decode_shard(row: dict[str, Any], work: Work) -> dict[str, Any]:
    """{'id': shard} -> the decoded shard as a row."""
    settle(work.environment)
    config = work.settings()
    shard = int(row["id"])
    start = shard * work.shard_size
    stop = min(start + work.shard_size, work.images)
    manifest = read_plan(open_store(config.output), start, stop, work.plan)
    masks = config.objects == "masks"
    return read_shard(shard, manifest, work.recipe, config.max_pixels, masks).to_row()
