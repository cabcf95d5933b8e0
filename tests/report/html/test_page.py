"""report.html: what is in it, whatever the run was like."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawings import picture
from written_runs import METHOD, SIDE, blob, score, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.html.page import write_report
from igcam_batch.sources import Box
from igcam_batch.storage import open_store
from igcam_batch.tables.record import RUN_FILE

HOSTILE = (
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "</script><script>alert(1)</script>.png",
    "{{ 7 * 7 }}'&amp;.png",
    "😀 שלום ‮gnp.exe.png",
)


def page_of(output: str) -> str:
    return (Path(output) / "report.html").read_text("utf-8")


def data_of(page: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def images(root: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, (SIDE, SIDE)).save(root / name)
    return root


def test_means_intervals_and_rows_are_those_of_the_summary(tmp_path: Path) -> None:
    rows = [score(f"{n}.png", n % 3, drop=n / 100, ebpg=n / 200 if n % 2 else None) for n in range(100)]
    output = write_run(tmp_path / "out", rows, np.stack([blob(3, 3)] * 100))
    summary = write_report(output)
    page = page_of(output)
    for row in summary.to_pylist():
        if row["target"] is None and row["rows"]:
            assert f"{100 * row['mean']:.2f}" in page
            assert f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" in page
            assert f"{row['rows']} rows" in page
    assert pq.read_table(Path(output) / "summary.parquet").equals(summary)
    assert (Path(output) / "clusters.parquet").exists()


def test_the_classes_have_their_means_accuracy_and_confidence(tmp_path: Path) -> None:
    rows = [score(f"{n}.png", n % 2, predicted=0, confidence=0.25 + n % 2 / 2, drop=0.5 - n % 2 / 4) for n in range(8)]
    page = page_of_run(tmp_path, rows)
    body = page[page.index('<table id="classes">') :]
    cells = re.findall(r'data-target="(\d)".*?</tr>', body, re.S)
    assert cells == ["0", "1"]
    first, second = re.findall(r"<tr data-target.*?</tr>", body, re.S)[:2]
    assert re.findall(r'<td data-value="([^"]*)"', first) == ["4", "1.0", "0.25"]
    assert re.findall(r'<td data-value="([^"]*)"', second) == ["4", "0.0", "0.75"]
    assert data_of(page)["classes"] == {"0": {METHOD: [0.5, 0.0]}, "1": {METHOD: [0.25, 0.0]}}


def page_of_run(tmp_path: Path, rows: list[dict[str, Any]], **run: Any) -> str:
    output = write_run(tmp_path / "out", rows, np.stack([blob(3, 3)] * len(rows)), **run)
    write_report(output)
    return page_of(output)


def test_names_are_text_wherever_they_come_from(tmp_path: Path) -> None:
    root = images(tmp_path / "in", [f"{n}.png" for n in range(len(HOSTILE))])
    rows = [
        score(f"{n}.png", n, target_name=name, predicted=n + 1, predicted_name=name) for n, name in enumerate(HOSTILE)
    ]
    rows += [score(name, 0) for name in HOSTILE]
    page = page_of_run(
        tmp_path,
        rows,
        images=root,
        boxes={"0.png": [Box(HOSTILE[0], 2, 2, 20, 20)]},
        failures={HOSTILE[1] + "x": HOSTILE[0]},
        model=f"x:{HOSTILE[1]}",
        input=f"/data/{HOSTILE[0]}",
    )
    assert page.count("<script") == 2  # data and the page's own
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "49" not in re.findall(r"\{\{.*?\}\}", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in page
    assert {card["image_id"] for card in data_of(page)["cards"].values()} >= {*HOSTILE, "0.png"}


def test_it_asks_nothing_of_the_network_and_lets_nothing_else_run(tmp_path: Path) -> None:
    page = page_of_run(tmp_path, [score("a.png")], images=images(tmp_path / "in", ["a.png"]))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.replace("&#39;", "'").startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", page)
    assert not re.findall(r"\son\w+\s*=", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_a_partial_run_says_what_is_missing(tmp_path: Path) -> None:
    page = page_of_run(tmp_path, [score("a.png"), score("b.png")], remaining=7)
    assert "A partial run, with 7 of 9 images still to be explained." in page


def test_maps_that_say_nothing_are_counted(tmp_path: Path) -> None:
    rows = [score(f"{number}.png") for number in range(4)]
    maps = np.stack([blob(3, 3), np.zeros((7, 7)), np.full((7, 7), np.nan), blob(1, 1)])
    write_report(write_run(tmp_path / "a", rows, maps))
    assert "have neither EBPG nor Bbox: 2 of integrated-grad-cam." in page_of(str(tmp_path / "a"))
    write_report(write_run(tmp_path / "b", rows, np.stack([blob(3, 3)] * 4)))
    assert "Maps that are zero everywhere" not in page_of(str(tmp_path / "b"))


def test_a_run_in_which_no_metric_has_a_value_is_told(tmp_path: Path) -> None:
    page = page_of_run(tmp_path, [score(f"{n}.png", n % 2, drop=None, increase=None) for n in range(4)])
    assert "<p>No metric has a value in any row.</p>" in page
    assert "What the metrics say" not in page
    assert data_of(page)["classes"] == {}
    assert "no metric has a value" in data_of(page)["cards"]["c0"]["methods"][METHOD]["words"]


@pytest.mark.parametrize(
    ("maps", "classes", "said"),
    [
        (np.zeros((20, 7, 7)), 2, "No map looks at anything: none has a value above zero"),
        (np.stack([blob(3, 3)] * 4), 2, "Too few maps to tell: 4 sampled maps of 2 classes, and none has 6."),
        (
            np.stack([blob(3, 3)] * 15),
            2,
            "No group of maps stands out among 15 sampled maps of 2 classes: no class looks at a border or at a "
            "corner more than the others do.",
        ),
        (np.stack([blob(3, 3)] * 8), 1, "No group of maps stands out among 8 sampled maps of 1 class: no class looks"),
        (np.stack([blob(3, 3)] * 8), 1, "more than its share of the image."),
    ],
)
def test_why_there_is_no_finding_is_told(tmp_path: Path, maps: np.ndarray, classes: int, said: str) -> None:
    rows = [score(f"{n}.png", n % classes) for n in range(len(maps))]
    write_report(write_run(tmp_path / "out", rows, maps))
    assert said in page_of(str(tmp_path / "out"))


@pytest.mark.parametrize(("source", "columns"), [("label", 6), ("predicted", 5)])
def test_recall_is_a_column_where_some_target_was_a_label(tmp_path: Path, source: str, columns: int) -> None:
    page = page_of_run(tmp_path, [score("a.png", target_source=source)])
    table = page[page.index('<table id="classes">') :].split("</table>")[0]
    assert (table.count('<th scope="col"'), table.count("<td") + 1) == (columns, columns)
    assert ("recall" in table) is (source == "label")


def test_failures_are_counted_by_cause(tmp_path: Path) -> None:
    failures = {f"bad-{n}.png": f"truncated after {n} bytes" for n in range(3)} | {"z.png": "not an image"}
    page = page_of_run(tmp_path, [score("a.png")], failures=failures)
    found = re.findall(r'<td class="text">(.*?)</td><td>(\d+)</td>', page)
    assert found == [("truncated after 0 bytes", "3"), ("not an image", "1")]


def test_images_that_are_gone_leave_their_maps(tmp_path: Path) -> None:
    page = page_of_run(tmp_path, [score(f"{n}.png") for n in range(3)])
    assert "3 images could not be fetched" in page
    assert "data:image/jpeg" not in page
    assert len(data_of(page)["maps"]) >= 3


def test_without_images_there_is_not_a_pixel_of_them(tmp_path: Path) -> None:
    root = images(tmp_path / "in", ["a.png", "b.png"])
    output = write_run(tmp_path / "out", [score("a.png"), score("b.png")], np.stack([blob(3, 3)] * 2), images=root)
    write_report(output, images=0)
    assert "data:image" not in page_of(output)
    write_report(output)
    assert "data:image/jpeg" in page_of(output)


def test_boxes_lie_where_the_recipe_takes_them(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    picture(0, (64, 128)).save(root / "a.png")
    output = write_run(
        tmp_path / "out", [score("a.png")], blob(3, 3)[None], images=root, boxes={"a.png": [Box("x", 16, 32, 48, 96)]}
    )
    write_report(output)
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"><title>x', page_of(output))
    assert set(found) == {("8.0", "8.0", "16.0", "16.0")}  # of 32 pixels a side


@pytest.mark.parametrize(
    ("rows", "failures", "said"),
    [
        (
            [],
            {"a.png": "truncated"},
            "nothing to report: the one image that was reached failed with: decode: truncated",
        ),
        (
            [],
            {"a.png": "truncated", "b.png": "truncated"},
            "nothing to report: all 2 images that were reached failed with: decode: truncated",
        ),
        (
            [],
            {"a.png": "truncated", "b.png": "truncated", "c.png": "no image"},
            "nothing to report: all 3 images that were reached failed, 2 of them with: decode: truncated",
        ),
        ([], {}, "no image is explained yet; the same audit command goes on"),
    ],
)
def test_a_run_with_nothing_to_show_is_told(tmp_path: Path, rows: list, failures: dict, said: str) -> None:
    output = write_run(tmp_path / "out", rows, np.zeros((0, 7, 7)), failures=failures, remaining=2)
    with pytest.raises(InputError, match=re.escape(said)):
        write_report(output)
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_directory_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no audit; `igcam-batch audit INPUT .* starts one"):
        write_report(str(tmp_path))
    (tmp_path / RUN_FILE).write_text('{"version": 99}')
    with pytest.raises(InputError, match=r"run\.json: not written by this igcam-batch, .*; audit anew"):
        write_report(str(tmp_path))


def test_tables_of_an_older_version_are_told(tmp_path: Path) -> None:
    output = write_run(tmp_path / "out", [score("a.png")], blob(3, 3)[None])
    store = open_store(output)
    [entry] = list(store.list("scores"))
    path = Path(output) / entry.path
    pq.write_table(pq.read_table(path).drop_columns(["confidence"]), path)
    with pytest.raises(InputError, match=r"part-000000\.parquet: has no column confidence: not written by"):
        write_report(output)


def test_a_hundred_thousand_rows_take_bounded_memory(tmp_path: Path) -> None:
    count = 100_000
    generator = np.random.default_rng(0)
    confidence, ebpg = generator.random((2, count)).tolist()
    rows = [score(f"{n:06d}.png", n % 3, confidence=confidence[n], ebpg=ebpg[n]) for n in range(count)]
    output = write_run(tmp_path / "out", rows, generator.random((count, 7, 7)), shard_size=1000)
    ran = subprocess.run([sys.executable, "-c", _PEAK, output], capture_output=True, text=True, check=True)
    imported, peak = map(int, ran.stdout.split())
    assert peak - imported < 250 * 1024  # KiB; the tables alone are 60 MB on disk
    assert len(page_of(output)) < 4 * 2**20


_PEAK = """
import sys
from igcam_batch.report.html.page import write_report
def peak():  # of this program; ru_maxrss begins with that of the parent
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
write_report(sys.argv[1])
print(before, peak())
"""


@pytest.mark.parametrize(
    ("classes", "corner", "said"),
    [
        (2, 3, "All classes, none is suspicious; "),
        (2, 0, "All classes, the most suspicious first."),
        (1, 3, "The only class, with no other to compare it with, is not suspicious."),
        (1, 0, "The only class, with no other to compare it with, is suspicious."),
    ],
)
def test_the_order_of_the_classes_with_cues_is_told(tmp_path: Path, classes: int, corner: int, said: str) -> None:
    rows = [score(f"{n}.png", n % classes) for n in range(40)]
    write_report(write_run(tmp_path / "out", rows, np.stack([blob(3, 3), blob(corner, corner)] * 20)))
    assert said in page_of(str(tmp_path / "out"))
