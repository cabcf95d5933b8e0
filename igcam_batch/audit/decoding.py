"""The Ray task that reads and decodes pieces, on CPUs. Loads no torch."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from igcam_batch.audit.environment import settle
from igcam_batch.audit.stop import stop_asked
from igcam_batch.audit.trouble import NONE, STOPPED, Trouble
from igcam_batch.audit.work import Work
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import read_plan
from igcam_batch.worker.decoded import DecodedShard
from igcam_batch.worker.read import read_shard
from igcam_batch.worker.watchdog import Watchdog


def decode_shards(row: dict[str, Any], work: Work) -> Iterator[dict[str, Any]]:
    """A row with some pieces -> a row for each, as soon as it is decoded."""
    for piece in row["pieces"]:
        yield decode_shard(piece, work)


def decode_shard(row: dict[str, Any], work: Work) -> dict[str, Any]:
    """A piece as a row -> its images, decoded, as a row, or the trouble that was in the way."""
    piece = Piece(**row)
    trouble, decoded = NONE, None
    try:
        settle(work.environment)
        config = work.settings()
        output = open_store(config.output)
        if stop_asked(output, work.plan):
            trouble = STOPPED
        else:
            manifest = read_plan(output, piece.start, piece.stop, work.plan)
            masks = config.objects == "masks"
            watchdog = Watchdog(output, work.plan, config.decode_timeout, life=work.life)
            decoded = read_shard(
                piece,
                manifest,
                work.recipe,
                config.max_pixels,
                masks,
                within=work.within,
                root=work.root,
                watchdog=watchdog,
                as_planned=piece.revision <= 0,  # what failed may have been mended since
            )
    except Exception as error:  # it travels as a value: an exception would only be logged by Ray
        trouble = Trouble.of(error)
    return (decoded or DecodedShard.nothing(piece)).to_row() | asdict(trouble)
