"""The Ray task that reads and decodes a shard, on CPUs. Loads no torch."""

from typing import Any

from igcam_batch.audit.work import Work
from igcam_batch.storage import open_store
from igcam_batch.tables.plan import read_plan
from igcam_batch.worker.read import read_shard
from igcam_batch.worker.watchdog import Watchdog


def decode_shard(row: dict[str, Any], work: Work) -> dict[str, Any]:
    """{'id': shard} -> the decoded shard as a row."""
    config = work.settings()
    shard = int(row["id"])
    start = shard * work.shard_size
    stop = min(start + work.shard_size, work.images)
    output = open_store(config.output)
    return read_shard(
        shard,
        read_plan(output, start, stop, work.plan),
        work.recipe,
        config.max_pixels,
        masks=config.objects == "masks",
        within=work.within,
        first=start,
        watchdog=Watchdog(output, work.plan, config.decode_timeout),
    ).to_row()
