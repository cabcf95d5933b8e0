"""A folder that FiftyOne opens: `fo.Dataset.from_dir(dataset_dir=DIR, dataset_type=fo.types.FiftyOneDataset)`.

Its own JSON, written without it: samples.json, metadata.json with the fields, heatmaps as 8-bit PNGs under fields/.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from igcam_batch.images import Recipe
from igcam_batch.names import METRICS, metric_column
from igcam_batch.report.colours import relative
from igcam_batch.report.export.names import file_name, plain_name
from igcam_batch.report.export.rows import Rows, Run
from igcam_batch.report.export.spool import Spool
from igcam_batch.report.export.written import Written
from igcam_batch.report.originals import Originals, PlannedRow
from igcam_batch.sources import SIDES, SUFFIXES
from igcam_batch.storage import Store

_VERSION = "1.0.0"  # of the schema; later ones take it further by themselves
_FLOATS = ("confidence", "score", "masked_confidence", *map(metric_column, METRICS))
_STARTS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
_FIELDS, _LABELS = "fiftyone.core.fields", "fiftyone.core.labels"


def write_fiftyone(run: Run, originals: Originals, to: Store) -> Written:
    """Write samples.json, metadata.json, fields/, and data/ for images that are no file on this machine's disk.

    A sample is an image, with `image_id`, `label`, `prediction` (a Classification), `ground_truth` (Detections, where
    the dataset has boxes), and for each method a Heatmap, `grad_cam` say; of an image's further targets `grad_cam_2`
    and so on. A heatmap carries its `target`, `label`, `maximum` and scores, so that `sort_by("grad_cam.ebpg")` works.
    It is drawn where the model saw the image: what a recipe cropped away is 0.

    Args:
        run: the rows.
        originals: its images. Files on disk are named where they are; others are copied as they are, or passed over
            and counted where they are gone.
        to: where to.
    """
    written = Written("fiftyone")
    heatmaps: dict[str, None] = {}
    floats: list[str] = []
    with Spool() as samples:
        for rows in run.rows():
            floats = [name for name in _FLOATS if name in rows.scores.column_names]
            for sample in _samples(rows, originals, to, written):
                heatmaps |= dict.fromkeys(name for name, value in sample.items() if _is_heatmap(value))
                samples.add(sample)
        to.write("samples.json", b'{"samples":' + samples.array() + b"}")
    to.write("metadata.json", json.dumps(_metadata(heatmaps, floats), ensure_ascii=False).encode())
    return written


def _samples(rows: Rows, originals: Originals, to: Store, written: Written) -> Iterator[dict[str, Any]]:
    planned = originals.of_shard(rows.shard)
    of_images = dict(rows.by_image())
    paths = dict(_media((planned[image_id] for image_id in of_images), originals, to, rows.shard))
    for image_id, of_image in of_images.items():
        path = paths[image_id]
        if isinstance(path, OSError):
            written.missing(image_id, path)
            continue
        sample = _sample(planned[image_id], [score for score, _ in of_image], path)
        for score, heat in of_image:
            field = _free(plain_name(score["method"]).replace("-", "_"), sample)
            place = PurePosixPath("fields", field, f"{rows.shard:06d}", file_name(image_id, ".png"))
            size = (score["width"], score["height"])
            to.write(str(place), _png(in_original(heat, originals.recipe, size)))
            sample[field] = _heatmap(score, heat, str(place), field)
            written.rows += 1
        written.images += 1
        yield sample


def _media(
    rows: Iterable[PlannedRow], originals: Originals, to: Store, shard: int
) -> Iterator[tuple[str, str | OSError]]:
    """Each image's id with its file: absolute, or under DIR, or why there is none."""
    elsewhere = []
    for row in rows:
        if row["part"] or "://" in row["uri"]:
            elsewhere.append(row)
        else:
            yield row["image_id"], row["uri"]
    for row, data in originals.fetch(elsewhere):
        if isinstance(data, OSError):
            yield row["image_id"], data
            continue
        place = f"data/{shard:06d}/{file_name(row['image_id'], _suffix(row['image_id'], data))}"
        to.write(place, data)
        yield row["image_id"], place


def _suffix(image_id: str, data: bytes) -> str:
    """By which the file is known as an image: its name's, or what its first bytes say."""
    suffix = PurePosixPath(image_id).suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    return next((found for start, found in _STARTS.items() if data.startswith(start)), "")


def _sample(planned: PlannedRow, scores: Sequence[Mapping[str, Any]], path: str) -> dict[str, Any]:
    """All but the heatmaps; the confidence of a prediction is known where it was explained."""
    score = scores[0]
    image_id, width, height = planned["image_id"], score["width"], score["height"]
    known = next((each["confidence"] for each in scores if each["target"] == each["predicted"]), None)
    sample = {
        "_id": _object_id(image_id),
        "filepath": path,
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
        "_media_type": "image",
        "_rand": int.from_bytes(_digest(image_id)[:6]) / 2**48,
        "image_id": image_id,
        "label": score["label"],
        "prediction": _label("Classification", image_id, "prediction")
        | {"label": score["predicted_name"] or str(score["predicted"]), "confidence": known}
        | {"index": score["predicted"]},
    }
    if planned["boxes"]:
        detections = [
            _label("Detection", image_id, f"box {number}")
            | {"attributes": {}, "label": box["label"], "bounding_box": _shares(box, width, height)}
            for number, box in enumerate(planned["boxes"])
        ]
        sample["ground_truth"] = {"_cls": "Detections", "detections": detections}
    return sample


def _shares(box: Mapping[str, Any], width: int, height: int) -> list[float]:
    """x, y, width, height, each of the image's."""
    left, top, right, bottom = (box[side] for side in SIDES)
    return [left / width, top / height, (right - left) / width, (bottom - top) / height]


def _heatmap(score: Mapping[str, Any], heat: np.ndarray, path: str, field: str) -> dict[str, Any]:
    return (
        _label("Heatmap", score["image_id"], field)
        | {"map_path": path, "range": [0.0, 255.0], "maximum": float(heat.max())}
        | {"target": score["target"], "label": score["target_name"] or str(score["target"])}
        | {"method": score["method"]}
        | {name: score[name] for name in _FLOATS if name in score}
    )


def _is_heatmap(value: Any) -> bool:
    return isinstance(value, dict) and value.get("_cls") == "Heatmap"


def _free(name: str, sample: Mapping[str, Any]) -> str:
    """A field that the sample does not have yet."""
    number, free = 1, name
    while free in sample:
        number += 1
        free = f"{name}_{number}"
    return free


def in_original(heat: np.ndarray, recipe: Recipe, image_size: tuple[int, int]) -> np.ndarray:
    """A (u, v) map over the whole of an image of (width, height), as (H, W) float32 of the image's shape.

    Bilinear as everywhere, 0 where the recipe crops away; its longer side is the model's input's, or the image's.
    """
    scale_x, scale_y, left, top = recipe.geometry(image_size)
    shrink = min(1.0, recipe.size / max(image_size))
    columns = _along(image_size[0], shrink, scale_x, left, recipe.size, heat.shape[1])
    rows = _along(image_size[1], shrink, scale_y, top, recipe.size, heat.shape[0])
    laid: np.ndarray = rows @ heat.astype(np.float32) @ columns.T
    return laid


def _along(length: int, shrink: float, scale: float, offset: int, size: int, cells: int) -> np.ndarray:
    """(pixels, cells): what each cell gives to each pixel along one side."""
    pixels = max(1, round(length * shrink))
    place = (np.arange(pixels) + 0.5) * (length / pixels) * scale - offset  # in the model's input
    cell = np.clip(place * (cells / size) - 0.5, 0, cells - 1)
    low = np.minimum(cell.astype(int), max(cells - 2, 0))
    weights = np.zeros((pixels, cells), dtype=np.float32)
    np.add.at(weights, (np.arange(pixels), low), 1 - (cell - low))
    np.add.at(weights, (np.arange(pixels), np.minimum(low + 1, cells - 1)), cell - low)
    weights[(place < 0) | (place > size)] = 0
    return weights


def _png(heat: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * relative(heat)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=12).digest()


def _object_id(text: str) -> dict[str, str]:
    return {"$oid": _digest(text).hex()}


def _label(kind: str, image_id: str, which: str) -> dict[str, Any]:
    return {"_id": _object_id(f"{which}\0{image_id}"), "_cls": kind, "tags": []}


def _metadata(heatmaps: Iterable[str], scores: Iterable[str]) -> dict[str, Any]:
    """The dataset's document: which fields its samples have."""
    tags = _field("tags", "ListField", of="StringField")
    floats = [_field(name, "FloatField") for name in ("maximum", *scores)]
    words = [_field(name, "StringField") for name in ("label", "method", "map_path")]
    own = [_field("target", "IntField"), _field("range", "HeatmapRangeField", of="FloatField")]
    box = [_field("label", "StringField"), _field("bounding_box", "ListField", of="FloatField")]
    detections = _field(
        "detections",
        "ListField",
        of="EmbeddedDocumentField",
        document=f"{_LABELS}.Detection",
        fields=[*_id(), tags, *box],
    )
    classified = [_field("label", "StringField"), _field("confidence", "FloatField"), _field("index", "IntField")]
    sides = [_field("width", "IntField"), _field("height", "IntField")]
    fields = [
        *_id(),
        _field("filepath", "StringField"),
        tags,
        _embedded("metadata", "fiftyone.core.metadata.ImageMetadata", sides),
        _field("_media_type", "StringField"),
        _field("_rand", "FloatField"),
        _field("_dataset_id", "ObjectIdField"),
        _field("created_at", "DateTimeField"),
        _field("last_modified_at", "DateTimeField"),
        _field("image_id", "StringField"),
        _field("label", "StringField"),
        _embedded("prediction", f"{_LABELS}.Classification", [*_id(), tags, *classified]),
        _embedded("ground_truth", f"{_LABELS}.Detections", [detections]),
        *(_embedded(name, f"{_LABELS}.Heatmap", [*_id(), tags, *own, *words, *floats]) for name in heatmaps),
    ]
    return {"name": "igcam-batch", "version": _VERSION, "media_type": "image", "sample_fields": fields}


def _id() -> list[dict[str, Any]]:
    return [_field("id", "ObjectIdField") | {"db_field": "_id"}]


def _embedded(name: str, document: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return _field(name, "EmbeddedDocumentField", document=document, fields=fields)


def _field(
    name: str, kind: str, *, of: str | None = None, document: str | None = None, fields: Iterable[Any] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{kind}",
        "subfield": of and f"{_FIELDS}.{of}",
        "embedded_doc_type": document,
        "fields": list(fields),
        "db_field": name,
    }
