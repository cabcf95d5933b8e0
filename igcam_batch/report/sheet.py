"""A contact sheet: each image as the model saw it, and every method's map, alone and laid over it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from igcam_batch.errors import InputError
from igcam_batch.report.originals import Originals
from igcam_batch.sources.rows import Box
from igcam_batch.tables import read_heatmaps, read_scores

_INCHES = 2.1  # side of one picture
_COLOURS = "turbo"


def write_sheet(output: str, path: Path, images: int = 12) -> None:
    """Write a PNG: a row for each explained image × target, up to `images` rows, two columns for each method.

    Args:
        output: OUTPUT of an audit whose images are still where they were.
        path: of the PNG.
        images: rows at most.

    Raises:
        InputError: `output` holds no audit, or nothing was explained.
    """
    originals = Originals(output)
    record, recipe = originals.record, originals.recipe
    scores = read_scores(output).to_pylist()
    maps = read_heatmaps(output, recipe.size)["heatmap"].combine_chunks().to_numpy_ndarray()
    planned = originals.first(images)
    rows: dict[tuple[str, int], list[int]] = {}
    for index, score in enumerate(scores):
        if score["image_id"] in planned:
            rows.setdefault((score["image_id"], score["target"]), []).append(index)
    if not rows:
        raise InputError(f"{output}: holds no explained image to show")
    methods = record.config["method"]

    shown = list(rows.values())[:images]
    columns = 1 + 2 * len(methods)
    figure = Figure(figsize=(_INCHES * columns, _INCHES * 1.14 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, indices in zip(axes, shown, strict=True):
        first = scores[indices[0]]
        [(_, original)] = originals.load([planned[first["image_id"]]])
        if isinstance(original, Exception):
            raise original
        pixels, boxes = original.pixels, original.boxes
        name = first["target_name"] or f"class {first['target']}"
        _picture(line[0], pixels, f"{name}, confidence {first['confidence']:.2f}", boxes)
        for position, index in enumerate(indices):
            heat = maps[index] / (maps[index].max() or 1)
            _picture(line[1 + 2 * position], pixels * 0, scores[index]["method"], heat=heat, opacity=1.0)
            _picture(line[2 + 2 * position], pixels, _scored(scores[index]), boxes, heat, opacity=0.5)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def _picture(
    axes: Axes,
    pixels: np.ndarray,
    title: str,
    boxes: Sequence[Box] = (),
    heat: np.ndarray | None = None,
    opacity: float = 0.0,
) -> None:
    axes.imshow(pixels)
    if heat is not None:
        axes.imshow(heat, cmap=_COLOURS, vmin=0, vmax=1, alpha=opacity)
    for box in boxes:
        corner, width, height = (box.left, box.top), box.right - box.left, box.bottom - box.top
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=1.5))
    axes.set_title(title, fontsize=8, parse_math=False)  # a class may be called $x$
    axes.set_axis_off()


def _scored(score: dict[str, Any]) -> str:
    energy = "" if score["ebpg"] is None else f"EBPG {100 * score['ebpg']:.0f} %"
    dropped = "" if score["drop"] is None else f"Drop {100 * score['drop']:.0f} %"
    return ", ".join(part for part in (energy, dropped) if part)
