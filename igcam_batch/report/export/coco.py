"""Boxes from thresholded maps in COCO's form, in pixels of the original images: for pycocotools and what else reads it.

Categories are the model's classes, by index. For each method a data set with its boxes as annotations, and the same
boxes as results, which `COCO.loadRes` takes; the data set's own boxes as the ground truth to evaluate them against.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from igcam_batch.attribution.upsample import upsample
from igcam_batch.images import Recipe
from igcam_batch.models.classes import ClassNames
from igcam_batch.report.export.boxes import THRESHOLD, pseudo_box
from igcam_batch.report.export.names import plain_name
from igcam_batch.report.export.rows import Run
from igcam_batch.report.export.spool import Spool
from igcam_batch.report.export.written import Written
from igcam_batch.report.originals import Originals, PlannedRow
from igcam_batch.report.targets import LABELLED
from igcam_batch.sources import SIDES
from igcam_batch.storage import Store

Sides = tuple[float, float, float, float]


def write_coco(run: Run, originals: Originals, to: Store, *, threshold: float = THRESHOLD) -> Written:
    """Write boxes/METHOD.json and boxes/METHOD.results.json, and boxes/ground_truth.json where the dataset has boxes.

    Image ids are 1, 2, 3 in the order of the run, the same in every file; `file_name` is the run's `image_id`.

    Args:
        run: the rows. Those whose map gives no box are left out, and counted.
        originals: the run's plan, for the dataset's boxes; no image is read.
        to: where to.
        threshold: share of a map's maximum; see `pseudo_box`.
    """
    written = Written("coco")
    with ExitStack() as stack:
        images, truth = stack.enter_context(Spool()), stack.enter_context(Spool())
        annotations = {method: stack.enter_context(Spool()) for method in run.methods}
        results = {method: stack.enter_context(Spool()) for method in run.methods}
        categories = _Categories(run)
        for rows in run.rows():
            planned = originals.of_shard(rows.shard)
            for image_id, of_image in rows.by_image():
                first = of_image[0][0]
                number, size = images.count + 1, (first["width"], first["height"])
                images.add({"id": number, "file_name": image_id, "width": size[0], "height": size[1]})
                _add_truth(truth, planned[image_id], number, size, categories)
                for score, heat in of_image:
                    sides = box_in_original(heat, originals.recipe, size, threshold)
                    if sides is None:
                        written.blank += 1
                        continue
                    category = categories.of_target(score["target"], score["target_name"])
                    found = {"image_id": number, "category_id": category, "bbox": _as_coco(sides)}
                    found["score"] = score["confidence"] if score["confidence"] is not None else 0.0
                    results[score["method"]].add(found)
                    into = annotations[score["method"]]
                    into.add(_annotation(into.count + 1, **found))
                    written.rows += 1
        written.images = images.count
        for method in run.methods:
            name = f"boxes/{plain_name(method)}"
            to.write(f"{name}.json", _dataset(images, annotations[method], categories, method, threshold))
            to.write(f"{name}.results.json", results[method].array())
        if truth.count:
            to.write("boxes/ground_truth.json", _dataset(images, truth, categories, "the dataset's boxes", None))
    return written


def box_in_original(heat: np.ndarray, recipe: Recipe, image_size: tuple[int, int], threshold: float) -> Sides | None:
    """The box of a (u, v) map in pixels of an image of (width, height); None where it has none.

    The map is upsampled to the model's input, as the metrics do, and what is found there goes back through the recipe.
    """
    large = upsample(torch.from_numpy(heat.astype(np.float32)), (recipe.size, recipe.size)).numpy()
    box = pseudo_box(large, threshold)
    if box is None:
        return None
    left, top, right, bottom = recipe.original_box(box, image_size)
    return (left, top, right, bottom) if right > left and bottom > top else None


class _Categories:
    """The model's classes as COCO's categories: the id is the class's index.

    A label of the dataset names the class that the audit took it for, as far as its tables say: the target that was
    explained for an image's only label, the class map, the name of a class that was explained or predicted. One that
    names none of these gets an id beyond the classes.
    """

    def __init__(self, run: Run) -> None:
        self._names: dict[int, str] = {}
        self._of_label: dict[str, int] = {}
        self._classes = run.record.model.classes
        class_map = run.record.config.get("class-map")
        self._map = class_map if isinstance(class_map, Mapping) else {}
        for found in run.classes():
            for kind in ("target", "predicted"):
                self._names.setdefault(found[kind], _named(found[kind], found[f"{kind}_name"]))
            if found["target_source"] in LABELLED and found["label"]:
                self._of_label.setdefault(found["label"], found["target"])
        every = tuple(self._names.get(index, _named(index, None)) for index in range(self._classes))
        self._known = ClassNames(self._classes, every)

    def of_target(self, target: int, name: str | None) -> int:
        """The id of an explained class."""
        self._names.setdefault(target, _named(target, name))
        return target

    def of_label(self, label: str) -> int:
        """The id of a dataset's class."""
        if label not in self._of_label:
            meant = self._map.get(label)
            name = meant if isinstance(meant, str) else label
            index = meant if isinstance(meant, int) else self._known.index(name)
            self._of_label[label] = max(self._classes - 1, *self._names) + 1 if index is None else index
            self._names.setdefault(self._of_label[label], name)
        return self._of_label[label]

    def listed(self) -> list[dict[str, Any]]:
        """As COCO has them."""
        return [{"id": index, "name": name} for index, name in sorted(self._names.items())]


def _named(index: int, name: str | None) -> str:
    return name or f"class {index}"


def _add_truth(
    truth: Spool, planned: PlannedRow, number: int, image_size: tuple[int, int], categories: _Categories
) -> None:
    for box in planned["boxes"] or ():
        limits = (*image_size, *image_size)
        left, top, right, bottom = (min(max(box[side], 0), limit) for side, limit in zip(SIDES, limits, strict=True))
        if right > left and bottom > top:
            sides = _as_coco((left, top, right, bottom))
            category = categories.of_label(box["label"])
            truth.add(_annotation(truth.count + 1, image_id=number, category_id=category, bbox=sides))


def _annotation(number: int, **values: Any) -> dict[str, Any]:
    _, _, width, height = values["bbox"]
    return {"id": number, **values, "area": width * height, "iscrowd": 0, "segmentation": []}


def _as_coco(sides: Sides) -> list[float]:
    """x, y, width, height."""
    left, top, right, bottom = sides
    return [round(value, 3) for value in (left, top, right - left, bottom - top)]


def _dataset(
    images: Spool, annotations: Spool, categories: _Categories, description: str, threshold: float | None
) -> bytes:
    info: dict[str, Any] = {"description": description}
    if threshold is not None:
        info |= {"threshold": threshold, "rule": "box of the largest part above that share of the map's maximum"}
    ends = {"info": info, "categories": categories.listed()}
    start = json.dumps(ends, ensure_ascii=False)[:-1].encode()
    return start + b',"images":' + images.array() + b',"annotations":' + annotations.array() + b"}"
