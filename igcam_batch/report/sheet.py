"""A contact sheet: each image as the model saw it, and every method's map, alone and laid over it."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from igcam_batch.attribution.upsample import upsample
from igcam_batch.errors import InputError
from igcam_batch.report.colours import relative
from igcam_batch.report.export.rows import Rows, Run
from igcam_batch.report.originals import Originals, PlannedRow
from igcam_batch.sources import Box

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
    originals, run = Originals(output), Run(output, limit=images)
    shown = [
        (planned, list(of_target))
        for rows in run.rows()
        for planned, of_image in _planned(originals, rows)
        for _, of_target in groupby(of_image, key=lambda row: row[0]["target"])
    ][:images]
    if not shown:
        raise InputError(f"{output}: holds no explained image to show")

    columns = 1 + 2 * len(run.methods)
    figure = Figure(figsize=(_INCHES * columns, _INCHES * 1.14 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, (planned, of_target) in zip(axes, shown, strict=True):
        first = of_target[0][0]
        [(_, original)] = originals.load([planned])
        if isinstance(original, Exception):
            raise original
        pixels, boxes = original.pixels, original.boxes
        name = first["target_name"] or f"class {first['target']}"
        _picture(line[0], pixels, f"{name}, confidence {first['confidence']:.2f}", boxes)
        for position, (score, small) in enumerate(of_target):
            heat = relative(upsample(torch.from_numpy(small.astype(np.float32)), pixels.shape[:2]).numpy())
            _picture(line[1 + 2 * position], pixels * 0, score["method"], heat=heat, opacity=1.0)
            _picture(line[2 + 2 * position], pixels, _scored(score), boxes, heat, opacity=0.5)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def _planned(originals: Originals, rows: Rows) -> Iterator[tuple[PlannedRow, list[tuple[dict[str, Any], np.ndarray]]]]:
    """Each image of a shard, as it was planned, with its rows and their maps."""
    planned = originals.of_shard(rows.shard)
    return ((planned[image_id], of_image) for image_id, of_image in rows.by_image())


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
