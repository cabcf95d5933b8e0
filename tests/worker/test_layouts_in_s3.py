"""Every layout in S3, read and explained as on disk, by what a worker runs."""

from pathlib import Path

import pyarrow as pa
import pytest
from datasets import LAYOUTS

import igcam_batch
from igcam_batch.config import load_config
from igcam_batch.models import load_model
from igcam_batch.sources import find_place, open_source
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import write_plan
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.read import read_shard

pytestmark = pytest.mark.xdist_group("s3")


def explained(place: str, output: str) -> tuple[str, list[dict]]:
    """The layout that is found there, and the scores of its images, without where they were."""
    config = load_config(
        {"input": place, "output": output, "model": "factories:small_cnn", "steps": 3, "target": "labels"}
        | {"objects": "masks"}
    )
    source = open_source(find_place(place))
    manifest = pa.concat_tables(source.tables)
    decoded = read_shard(Piece(0, 0, len(manifest)), manifest, load_model(config).recipe, config.max_pixels, masks=True)
    write_plan(open_store(config.output), [manifest], "plan")
    ShardExplainer(config, "cpu", "plan")(decoded)
    rows = igcam_batch.read_scores(output).drop_columns(["uri"]).to_pylist()
    assert len(rows) == igcam_batch.read_heatmaps(output, size=32).num_rows == 4
    return source.layout, rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dataset_in_s3_is_what_it_is_on_disk(layout: str, bucket: str, tmp_path: Path) -> None:
    root = LAYOUTS[layout](tmp_path / "data")
    store = open_store(f"s3://{bucket}/some/data")
    for path in root.rglob("*"):
        if path.is_file():
            store.write(str(path.relative_to(root)), path.read_bytes())
    on_disk = explained(str(root), str(tmp_path / "out"))
    assert on_disk[0] == layout
    assert explained(f"s3://{bucket}/some/data", f"s3://{bucket}/out") == on_disk


def test_a_manifest_on_disk_may_name_images_in_s3(bucket: str, tmp_path: Path) -> None:
    LAYOUTS["manifest"](tmp_path / "data")
    (manifest,) = (tmp_path / "data").glob("manifest.*")
    for path in (tmp_path / "data" / "pictures").iterdir():
        open_store(f"s3://{bucket}").write(path.name, path.read_bytes())
    on_disk = explained(str(tmp_path / "data"), str(tmp_path / "out"))
    manifest.write_text(manifest.read_text().replace("pictures/", f"s3://{bucket}/"))
    _, rows = explained(str(manifest), str(tmp_path / "other"))
    assert [row | {"image_id": ""} for row in rows] == [row | {"image_id": ""} for row in on_disk[1]]
