"""Two runs side by side."""

import io
import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from drawings import picture
from rich.console import Console
from rich.table import Table
from written_runs import METHOD, SIDE, blob, score, write_run

from igcam_batch.errors import InputError
from igcam_batch.report.agreement import rank_correlation
from igcam_batch.report.compare import join as joining
from igcam_batch.report.compare.compare import compare
from igcam_batch.report.compare.differences import caution
from igcam_batch.report.compare.terminal import agreement_table, changes_table

COUNT = 60


def two_runs(root: Path, shard_sizes: tuple[int, int] = (7, 50)) -> tuple[str, str, np.ndarray, np.ndarray]:
    """A: attention in the middle; B, in another order: of every third image elsewhere, EBPG up by 0.2 or unknown."""
    generator = np.random.default_rng(0)
    ebpg = generator.uniform(0.2, 0.6, COUNT)
    maps_a = np.stack([blob(3, 3)] * COUNT) + 0.05 * generator.random((COUNT, 7, 7))
    maps_b = np.stack([blob(5, 5) if n % 3 == 0 else blob(3, 3) for n in range(COUNT)])
    maps_b = maps_b + 0.05 * generator.random((COUNT, 7, 7))
    a = [score(f"{n}.png", n % 2, ebpg=float(ebpg[n]), confidence=0.5) for n in range(COUNT)]
    b = [
        score(f"{n}.png", n % 2, ebpg=float(ebpg[n]) + 0.2 if n % 4 else None, confidence=0.5 + n / 200)
        for n in range(COUNT)
    ]
    order = generator.permutation(COUNT)
    return (
        write_run(root / "a", a, maps_a, shard_size=shard_sizes[0]),
        write_run(root / "b", [b[n] for n in order], maps_b[order], shard_size=shard_sizes[1], model="factories:other"),
        maps_a,
        maps_b,
    )


def lines_of(table: Table) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()


def rows_of(directory: Path) -> list[dict]:
    table = pq.read_table(directory / "changes")
    return sorted(table.to_pylist(), key=lambda row: int(row["image_id"].partition(".")[0]))


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_differences_are_of_the_same_image_and_class(tmp_path: Path) -> None:
    a, b, _, _ = two_runs(tmp_path)
    compared = compare(a, b, str(tmp_path / "cmp"))
    of = {row["metric"]: row for row in compared.table.to_pylist()}
    assert of["ebpg"]["change_mean"] == pytest.approx(0.2, abs=1e-6)
    assert (of["ebpg"]["rows"], of["ebpg"]["better"]) == (45, "B")
    assert of["confidence"]["change_mean"] == pytest.approx(np.mean(np.arange(COUNT) / 200), abs=1e-6)
    assert of["confidence"]["better"] is None  # neither direction is
    assert of["drop"]["change_mean"] == 0
    assert (compared.matched.pairs, compared.matched.images) == (COUNT, COUNT)
    assert compared.table.equals(pq.read_table(tmp_path / "cmp" / "differences.parquet"))
    rows = rows_of(tmp_path / "cmp")
    assert len(rows) == COUNT
    assert all(row["ebpg_change"] == pytest.approx(0.2, abs=1e-6) for row in rows if row["ebpg_b"] is not None)
    assert [row["ebpg_change"] for row in rows if row["ebpg_b"] is None] == [None] * 15


def test_agreement_is_of_the_two_maps(tmp_path: Path) -> None:
    a, b, maps_a, maps_b = two_runs(tmp_path)
    compare(a, b, str(tmp_path / "cmp"))
    found = np.array([row["rank_correlation"] for row in rows_of(tmp_path / "cmp")])
    expected = rank_correlation(maps_a.astype(np.float16), maps_b.astype(np.float16))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[::3].max() < found[1::3].min()


def test_parts_and_shards_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _, _ = two_runs(tmp_path)
    whole = compare(a, b, str(tmp_path / "whole"), images=0)
    monkeypatch.setattr(joining, "_ROWS_AT_ONCE", 9)
    parts = compare(a, b, str(tmp_path / "parts"), images=0)
    assert len(list((tmp_path / "parts" / "changes").iterdir())) == 7
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    for one, other in zip(whole.table.to_pylist(), parts.table.to_pylist(), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert whole.matched == parts.matched


def test_maps_of_different_sizes_are_compared_at_the_finer_one(tmp_path: Path) -> None:
    rows = [score("a.png")]
    small = write_run(tmp_path / "a", rows, blob(3, 3)[None])
    large = write_run(tmp_path / "b", rows, blob(6.5, 6.5, cells=14, width=2)[None], model="x:other")
    of = {row["metric"]: row for row in compare(small, large, str(tmp_path / "cmp")).table.to_pylist()}
    assert of["rank_correlation"]["change_mean"] > 0.98


def test_two_methods_of_one_run(tmp_path: Path) -> None:
    rows = [
        score(f"{n}.png", method=method, ebpg=0.5 + place / 4)
        for n in range(3)
        for place, method in enumerate(("grad-cam", METHOD))
    ]
    output = write_run(tmp_path / "out", rows, np.stack([blob(3, 3)] * 6))
    compared = compare(output, output, str(tmp_path / "cmp"), method_a="grad-cam")
    of = {row["metric"]: row for row in compared.table.to_pylist()}
    assert of["ebpg"]["change_mean"] == pytest.approx(0.25)
    assert of["ebpg"]["better"] is None  # of three images
    page = (tmp_path / "cmp" / "comparison.html").read_text("utf-8")
    assert f"A grad-cam against B {METHOD}" in page
    with pytest.raises(InputError, match=r"both sides are its integrated-grad-cam; name another OUTPUT, or two of"):
        compare(output, output, str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"--method-b score-cam: .* does not hold it; there are: grad-cam, integrated"):
        compare(output, output, str(tmp_path / "other"), method_b="score-cam")


def test_only_classes_that_both_explain_are_pairs(tmp_path: Path) -> None:
    maps = np.stack([blob(3, 3)] * 3)
    a = write_run(tmp_path / "a", [score(f"{n}.png", 0) for n in range(3)], maps)
    b = write_run(tmp_path / "b", [score(f"{n}.png", n) for n in range(3)], maps, model="x:other")
    matched = compare(a, b, str(tmp_path / "cmp")).matched
    assert (matched.rows_a, matched.rows_b, matched.pairs, matched.images) == (3, 3, 1, 3)
    page = (tmp_path / "cmp" / "comparison.html").read_text("utf-8")
    assert "1 of A&#39;s 3 rows and of B&#39;s 3" in page or "1 of A's 3 rows and of B's 3" in page


@pytest.mark.parametrize("sha256", ["0" * 64, "1" * 64], ids=["one model", "two models"])
def test_what_is_measured_by_a_model_s_own_confidence_names_neither_of_two_models_better(
    tmp_path: Path, sha256: str
) -> None:
    """One that is sure of nothing has nothing to lose, so that its Drop is low, and means nothing."""
    names, maps = [f"{number}.png" for number in range(COUNT)], np.stack([blob(3, 3)] * COUNT)
    measured = {"increase": 0.0, "average_gain": 0.1, "insertion": 0.2, "deletion": 0.5}
    unsure = {"increase": 1.0, "average_gain": 0.2, "insertion": 0.3, "deletion": 0.01, "confidence": 0.002}
    metrics = ("average_gain", "insertion", "deletion")
    a = [score(name, drop=0.9, ebpg=0.2, **measured) for name in names]
    b = [score(name, drop=0.1, ebpg=0.4, **unsure) for name in names]
    run_a = write_run(tmp_path / "a", a, maps, metrics=metrics)
    run_b = write_run(tmp_path / "b", b, maps, metrics=metrics, sha256=sha256)
    compared = compare(run_a, run_b, str(tmp_path / "cmp"), images=0)
    better = {row["metric"]: row["better"] for row in compared.table.to_pylist()}
    verdict = "B" if sha256 == "0" * 64 else None
    assert better["ebpg"] == "B"
    assert {better[name] for name in ("drop", *measured)} == {verdict}
    said = (
        "No side is named better on Drop, Increase, Insertion, Deletion and Average gain: of two models, each is "
        "measured by its own confidence."
    )
    assert caution(*compared.sides, compared.table) == ("" if verdict else said)
    assert (said in (tmp_path / "cmp" / "comparison.html").read_text("utf-8")) == (verdict is None)


@pytest.mark.parametrize(
    ("ids", "target", "said"),
    [
        (["z.png"], 0, "no image in common (A explains 1 image, as a.png; B explains 1 image, as z.png); images are"),
        (["a.png"], 1, "have 1 image in common, and explain no class of them alike; audit both with --target label"),
    ],
)
def test_runs_without_a_pair_are_told_and_nothing_is_left(
    tmp_path: Path, ids: list[str], target: int, said: str
) -> None:
    a = write_run(tmp_path / "a", [score("a.png")], blob(3, 3)[None])
    b = write_run(tmp_path / "b", [score(name, target) for name in ids], blob(3, 3)[None], model="x:other")
    with pytest.raises(InputError, match=re.escape(said)):
        compare(a, b, str(tmp_path / "cmp"))
    assert not list((tmp_path / "cmp").rglob("*.*"))


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({"a.png": "broken"}, "nothing to compare: the one image that was reached failed with: decode: broken"),
        (
            dict.fromkeys("abc", "bad"),
            "nothing to compare: all 3 images that were reached failed with: decode: bad",
        ),
        ({}, "nothing to compare: no image is explained yet"),
    ],
)
def test_a_run_in_which_nothing_was_explained_is_told(tmp_path: Path, failures: dict, said: str) -> None:
    a = write_run(tmp_path / "a", [score("a.png")], blob(3, 3)[None])
    b = write_run(tmp_path / "b", [], np.zeros((0, 7, 7)), failures=failures, remaining=2)
    for one, other in ((a, b), (b, a)):
        with pytest.raises(InputError, match=re.escape(f"{b}: {said}")):
            compare(one, other, str(tmp_path / "cmp"))


def test_of_runs_without_a_common_image_it_is_said_what_each_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_ROWS_AT_ONCE", 1)
    a = write_run(tmp_path / "a", [score("b.png"), score("a.png")], np.stack([blob(3, 3)] * 2))
    b = write_run(tmp_path / "b", [score("z.png")], blob(3, 3)[None], failures={"a.png": "x", "b.png": "x"})
    said = "(A explains 2 images, as a.png; B explains 1 image, as z.png, and has 2 that failed)"
    with pytest.raises(InputError, match=re.escape(said)):
        compare(a, b, str(tmp_path / "cmp"))


def test_ids_that_differ_by_a_directory_are_shown_side_by_side(tmp_path: Path) -> None:
    names = [f"{number:05}.jpg" for number in range(1, 4)]
    maps = np.stack([blob(3, 3)] * 3)
    a = write_run(tmp_path / "a", [score(name) for name in names], maps)
    b = write_run(tmp_path / "b", [score(f"JPEGImages/{name}") for name in names], maps)
    said = "(A explains 3 images, as 00001.jpg; B explains 3 images, as JPEGImages/00001.jpg); images are known by"
    with pytest.raises(InputError, match=re.escape(said)):
        compare(a, b, str(tmp_path / "cmp"))


def test_the_terminal_has_agreements_apart_from_differences_each_with_its_interval(tmp_path: Path) -> None:
    a, b, _, _ = two_runs(tmp_path)
    compared = compare(a, b, str(tmp_path / "cmp"), images=0)
    changes, agreements = (lines_of(table) for table in (changes_table(compared), agreement_table(compared)))
    assert [line.split()[0] for line in changes] == ["mean", "Confidence", "Accuracy", "EBPG", "Drop", "Increase"]
    assert agreements[0].split("  ")[0] == "agreement of maps"
    of = {row["metric"]: row for row in compared.table.to_pylist()}
    for line, metric in zip(agreements[1:], ("rank_correlation", "top_overlap"), strict=True):
        row = of[metric]
        said = f"{row['change_mean']:.3f} {row['change_low']:.3f} to {row['change_high']:.3f} {COUNT}"
        assert " ".join(line.split()).endswith(said)


def test_an_earlier_comparison_is_not_lost(tmp_path: Path) -> None:
    a, b, _, _ = two_runs(tmp_path)
    compare(a, b, str(tmp_path / "cmp"), images=0)
    with pytest.raises(InputError, match=r"cmp: holds a comparison; name another --output, or --overwrite it"):
        compare(b, a, str(tmp_path / "cmp"), images=0)
    compare(b, a, str(tmp_path / "cmp"), images=0, overwrite=True)
    before = files_of(tmp_path / "cmp")
    apart = write_run(tmp_path / "c", [score("z.png")], blob(3, 3)[None])
    for other, said in ((str(tmp_path / "nothing"), "holds no audit"), (apart, "no image in common")):
        with pytest.raises(InputError, match=said):
            compare(a, other, str(tmp_path / "cmp"), overwrite=True)
    assert files_of(tmp_path / "cmp") == before


def test_an_earlier_comparison_outlives_one_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _, _ = two_runs(tmp_path)
    compare(a, b, str(tmp_path / "cmp"), images=0)
    before = files_of(tmp_path / "cmp")
    monkeypatch.setattr("igcam_batch.report.compare.page.render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare(b, a, str(tmp_path / "cmp"), images=0, overwrite=True)
    assert files_of(tmp_path / "cmp") == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("mine", ["changes/my-notes.md", "comparison.html", "thesis.tex"])
def test_a_directory_of_the_users_is_refused_and_kept(tmp_path: Path, mine: str, overwrite: bool) -> None:
    a, b, _, _ = two_runs(tmp_path)
    (tmp_path / "project" / mine).parent.mkdir(parents=True)
    (tmp_path / "project" / mine).write_text("mine")
    with pytest.raises(InputError, match=rf"holds {mine}, which is no part of a comparison; name another --output"):
        compare(a, b, str(tmp_path / "project"), overwrite=overwrite)
    assert files_of(tmp_path / "project") == {mine: b"mine"}


def test_the_runs_themselves_are_no_place_for_it(tmp_path: Path) -> None:
    a, b, _, _ = two_runs(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"which is no part of a comparison"):
        compare(a, b, a, overwrite=True)
    assert files_of(tmp_path) == before


def test_the_page_names_what_differs_first_and_shows_what_changed(tmp_path: Path) -> None:
    a, b, _, _ = two_runs(tmp_path)
    compare(a, b, str(tmp_path / "cmp"), images=3)
    page = (tmp_path / "cmp" / "comparison.html").read_text("utf-8")
    assert "A small_cnn against B other" in page
    assert re.findall(r'<h3 id="gallery-(\w+)"', page) == ["elsewhere", "better", "surer"]
    shown = re.search(r'aria-labelledby="gallery-surer">(.*?)</ul>', page, re.S)[1]
    assert re.findall(r'class="id"><bdi>(.*?)</bdi>', shown) == ["59.png", "58.png", "57.png"]
    settings = re.findall(r'<tr(?: class="differs")?><th scope="row">(.*?)</th><td class="text id">', page)
    assert settings.index("model") < settings.index("steps")


@pytest.mark.parametrize("gone", [(), ("a",), ("b",), ("a", "b")])
def test_images_that_are_gone_of_either_run_are_counted_on_the_page(tmp_path: Path, gone: tuple[str, ...]) -> None:
    picture(1, (SIDE, SIDE)).save(tmp_path / "x.png")
    a, b = (
        write_run(tmp_path / name, [score("x.png")], blob(3, at)[None], images=None if name in gone else tmp_path)
        for name, at in (("a", 3), ("b", 5))
    )
    compare(a, b, str(tmp_path / "cmp"))
    page = (tmp_path / "cmp" / "comparison.html").read_text("utf-8")
    assert len(re.findall(r"\b1 images? could not be fetched", page)) == bool(gone)


def test_the_page_of_the_docs_has_every_column_and_its_queries_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    said = set(re.findall(r"`(\w+)`", page))
    a, b, _, _ = two_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    compared = compare(a, b, "comparison")
    assert {name.replace("b_", "a_", 1) for name in compared.table.column_names if name[:2] != "b_"} <= said
    metrics = tuple(compared.table["metric"].to_pylist())
    others = [name for name in pq.read_table("comparison/changes").column_names if not name.startswith(metrics)]
    assert set(others) <= said
    otherwise, away = (duckdb.sql(query).fetchall() for query in re.findall(r"```sql\n(.*?)```", page, re.S))
    assert otherwise == []  # both predict the same
    assert {row[0] for row in away} == {"class 0", "class 1"}
    assert all(points == pytest.approx(20, abs=1e-3) for _, _, points in away)
