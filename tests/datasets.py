"""Three pictures with labels and boxes, in every layout that an audit reads."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from drawings import picture
from factories import CLASSES

NAMES = ("1.png", "2.png", "3.png")
LABELS = (("cat",), ("dog",), ("cat", "eel"))
BOXES = ((8, 8, 40, 40), (0, 10, 96, 80), (48, 0, 96, 60))
"""left, top, right, bottom of each object; of the third image's two, alike."""


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def objects(number: int) -> list[dict]:
    sides = dict(zip(("left", "top", "right", "bottom"), BOXES[number], strict=True))
    return [{"label": label} | sides for label in LABELS[number]]


def write_pictures(directory: Path) -> None:
    directory.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        (directory / name).write_bytes(png(seed))


def as_voc(root: Path, labels: tuple[tuple[str, ...], ...] = LABELS) -> Path:
    year = root / "VOCdevkit" / "VOC2007"
    write_pictures(year / "JPEGImages")
    (year / "Annotations").mkdir()
    (year / "ImageSets" / "Main").mkdir(parents=True)
    (year / "ImageSets" / "Main" / "test.txt").write_text("\n".join(name[0] for name in NAMES))
    for number, name in enumerate(NAMES):
        left, top, right, bottom = BOXES[number]
        box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        found = "".join(f"<object><name>{label}</name><bndbox>{box}</bndbox></object>" for label in labels[number])
        (year / "Annotations" / f"{name[0]}.xml").write_text(f"<annotation>{found}</annotation>")
    return root


def as_coco(root: Path) -> Path:
    write_pictures(root / "val2017")
    (root / "annotations").mkdir()
    annotations = []
    for number in range(3):
        left, top, right, bottom = BOXES[number]
        outline = [[left, top, right, top, right, bottom, left, bottom]]
        annotations += [
            {"id": len(annotations) + k, "image_id": number, "category_id": CLASSES.index(label), "iscrowd": 0}
            | {"bbox": [left, top, right - left, bottom - top], "segmentation": outline}
            for k, label in enumerate(LABELS[number])
        ]
    content = {
        "images": [{"id": n, "file_name": name, "width": 96, "height": 80} for n, name in enumerate(NAMES)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def as_manifest(root: Path) -> Path:
    write_pictures(root / "pictures")
    rows = [
        {"uri": f"pictures/{name}", "labels": LABELS[n], "boxes": objects(n), "camera": f"c{n}", "drop": n / 2}
        for n, name in enumerate(NAMES)
    ]
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def as_parquet(root: Path) -> Path:
    root.mkdir()
    images = pa.array([{"bytes": png(n), "path": name} for n, name in enumerate(NAMES)])
    table = pa.table({"image": images, "labels": pa.array(LABELS), "camera": ["c0", "c1", "c2"]})
    pq.write_table(table, root / "train-00000.parquet", row_group_size=2)
    return root


def as_webdataset(root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "shard-0.tar", "w") as tar:
        for number, name in enumerate(NAMES):
            said = json.dumps({"labels": LABELS[number], "boxes": objects(number)}).encode()
            for path, data in ((name, png(number)), (f"{name[0]}.json", said)):
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return root


LAYOUTS = {
    "voc": as_voc,
    "coco": as_coco,
    "manifest": as_manifest,
    "parquet": as_parquet,
    "webdataset": as_webdataset,
}
