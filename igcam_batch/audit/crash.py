"""The failure of an image that ends the process that explains it."""

import pyarrow as pa

from igcam_batch.config import AuditConfig
from igcam_batch.storage import Store
from igcam_batch.tables import FAILURES, Piece, decoded_schema, heatmaps_schema, scores_schema, stage_piece
from igcam_batch.tables.plan import read_plan
from igcam_batch.tables.record import RunRecord


def put_crash(store: Store, record: RunRecord, config: AuditConfig, piece: Piece, deaths: int, last_words: str) -> None:
    """Put the tables of a single image aside: no score, no map, one failure."""
    manifest = read_plan(store, piece.start, piece.stop, record.plan)
    [row] = manifest.select(["image_id", "uri"]).to_pylist()
    error = f"the process that explained it died, alone with it at last{f': {last_words}' if last_words else ''}"
    failure = row | {"stage": "crash", "error": error, "attempts": deaths}
    stage_piece(
        store,
        record.plan,
        piece,
        scores_schema(decoded_schema(manifest.schema), config.metric).empty_table(),
        heatmaps_schema(record.model.map_shape, config.heatmap_dtype).empty_table(),
        pa.Table.from_pylist([failure], schema=FAILURES),
    )
