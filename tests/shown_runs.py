"""Runs whose pages the browser tests open: written as tables, each for what it should show."""

from pathlib import Path

import numpy as np
from drawings import picture
from written_runs import METHOD, SIDE, blob, score, write_run

from igcam_batch.sources import Box

OTHER = "grad-cam"
NAMES = ["<b>bold</b>.png", "\"quoted\" & 'so'.png", "😀.png", "שלום.png", *(f"{n}.png" for n in range(8))]
LONG = "_".join(["class"] * 24)
HEBREW = "שלום"


def four_classes(root: Path) -> Path:
    """Twelve images in four classes by two methods, one class looking at a corner."""
    rows, maps = [], []
    for number, name in enumerate(NAMES):
        (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, (SIDE, SIDE)).save(root / "in" / name)
        for method in (METHOD, OTHER):
            shift = method == OTHER
            values = {"drop": number / 20 + shift / 10, "ebpg": 1 - number / 12, "confidence": 0.5 + number / 30}
            rows.append(score(name, number % 4, method, target_name=f"class {10 - number % 4}", **values))
            maps.append(blob(6, 6) if number % 4 == 2 else blob(2 + shift, 3))
    boxes = {name: [Box("thing", 4, 4, 20, 20)] for name in NAMES}
    write_run(root / "out", rows, np.stack(maps), images=root / "in", boxes=boxes, failures={"bad.png": "truncated"})
    return root / "out"


def opposite_methods(root: Path) -> Path:
    """Forty images that are gone, in two classes by two methods that rank them the other way round.

    Class 0 looks at a corner by the first method; the maps of an image agree the less the higher its number.
    """
    rows, maps = [], []
    for number in range(40):
        for method in (METHOD, OTHER):
            share = number / 40 if method == METHOD else 1 - number / 40
            values = {"drop": share, "ebpg": 0.9 * share, "confidence": 0.9, "masked_confidence": 0.9 * (1 - share)}
            rows.append(score(f"{number:02d}.png", number % 2, method, **values))
            corner = blob(6, 6) if number % 2 == 0 else blob(3, 3)
            maps.append(corner if method == METHOD else corner[:, :: 1 - 2 * (number >= 20)])
    write_run(root / "out", rows, np.stack(maps))
    return root / "out"


def hard_names(root: Path) -> Path:
    """Forty images that are gone, of a class with a long name and of one from right to left; both look at a corner.

    Those of the second are predicted as the first, whose target was no label.
    """
    rows, maps = [], []
    for number in range(40):
        second = number % 2
        values = {"target_name": HEBREW if second else LONG, "predicted": 0, "predicted_name": LONG}
        values |= {"confidence": 0.67, "target_source": "top-2"}
        rows.append(score(f"{number:02d}.png", second, **values))
        maps.append(blob(0, 0) if second else blob(6, 6))
    write_run(root / "out", rows, np.stack(maps))
    return root / "out"
