"""The summary of a run: means, intervals, classes and differences, from tables as an audit commits them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from igcam_batch.errors import InputError
from igcam_batch.report.summary import FEWEST_IMAGES, SUMMARY, overall, read_summary, summarise, write_summary
from igcam_batch.storage import open_store
from igcam_batch.tables import FAILURES, SCORES, commit_shard

ONE, OTHER = "grad-cam", "integrated-grad-cam"


def row(image: str, method: str, target: int = 3, **metrics: float | None) -> dict[str, Any]:
    keys = {"image_id": image, "uri": f"/{image}", "predicted": 0, "target": target, "target_name": f"class {target}"}
    return keys | {"target_source": "label", "method": method} | metrics


@pytest.fixture
def output(tmp_path: Path):
    """Commit rows in shards of so many: `output(rows, 5)`."""

    def commit(rows: Iterable[dict[str, Any]], shard_size: int = 1000, name: str = "out", extra: tuple = ()) -> str:
        rows = list(rows)
        images = list(dict.fromkeys(each["image_id"] for each in rows))
        schema = pa.schema([*SCORES, *((column, pa.float32()) for column in extra)])
        store = open_store(str(tmp_path / name))
        for number, start in enumerate(range(0, len(images), shard_size)):
            some = set(images[start : start + shard_size])
            table = pa.Table.from_pylist([each for each in rows if each["image_id"] in some], schema=schema)
            commit_shard(store, number, table, pa.table({"heatmap": [1]}), FAILURES.empty_table(), len(some))
        return str(tmp_path / name)

    return commit


def of(table: pa.Table, **wanted: Any) -> dict[str, Any]:
    """The one row with these values."""
    [found] = [each for each in table.to_pylist() if all(each[name] == value for name, value in wanted.items())]
    return found


class TestMeans:
    def test_are_over_rows_that_have_a_value_with_their_number(self, output):
        table = summarise(
            output(
                [
                    row("a", ONE, drop=0.5, ebpg=0.25),
                    row("a", ONE, target=4, drop=1.0, ebpg=None),
                    row("b", ONE, drop=0.0, ebpg=0.75),
                ]
            )
        )
        assert table.schema.equals(SUMMARY)
        drop, ebpg = of(table, metric="drop", target=None), of(table, metric="ebpg", target=None)
        assert (drop["mean"], drop["rows"], drop["images"]) == (0.5, 3, 2)
        assert (ebpg["mean"], ebpg["rows"], ebpg["images"]) == (0.5, 2, 2)
        nothing = of(table, metric="bbox", target=None)
        assert (nothing["mean"], nothing["low"], nothing["rows"]) == (None, None, 0)

    def test_of_classes_are_over_their_rows(self, output):
        table = summarise(output([row(f"{n}", ONE, target=n % 2, drop=n / 10) for n in range(10)]))
        odd = of(table, metric="drop", target=1)
        assert odd["mean"] == pytest.approx(np.mean([0.1, 0.3, 0.5, 0.7, 0.9]))
        assert (odd["target_name"], odd["rows"], odd["kind"]) == ("class 1", 5, "mean")
        assert odd["low"] < odd["mean"] < odd["high"]

    def test_further_metrics_are_summarised_where_the_table_has_them(self, output):
        rows = [row(f"{n}", ONE, sparsity=n / 4) for n in range(4)]
        assert of(summarise(output(rows, extra=("sparsity",))), metric="sparsity", target=None)["mean"] == 0.375
        assert "sparsity" not in summarise(output(rows, name="plain"))["metric"].to_pylist()

    def test_overall_gives_them_by_method_and_metric(self, output):
        found = overall(summarise(output([row("a", ONE, drop=0.5), row("b", OTHER, drop=0.25)])))
        assert (found[ONE]["drop"]["mean"], found[OTHER]["drop"]["mean"]) == (0.5, 0.25)


class TestDifferences:
    def rows(self, gain: float, noise: float = 0.01) -> list[dict[str, Any]]:
        """OTHER's ebpg is higher by `gain`, on images that differ far more among themselves; its drop lower."""
        generator = np.random.default_rng(1)
        found = []
        for n in range(60):
            level, wobble = generator.random(), noise * generator.normal()
            found.append(row(f"{n}", ONE, ebpg=level, drop=level))
            found.append(row(f"{n}", OTHER, ebpg=level + gain + wobble, drop=level - gain + wobble))
        return found

    def test_are_paired_so_that_a_small_one_shows(self, output):
        table = summarise(output(self.rows(0.02)))
        change = of(table, kind="difference", metric="ebpg")
        assert (change["method"], change["other"], change["rows"]) == (ONE, OTHER, 60)
        assert change["mean"] == pytest.approx(-0.02, abs=0.005)
        assert change["high"] - change["low"] < 0.01
        mean = of(table, kind="mean", method=ONE, metric="ebpg", target=None)
        assert mean["high"] - mean["low"] > 0.1

    def test_name_the_better_method_by_the_metric_s_direction(self, output):
        table = summarise(output(self.rows(0.02)))
        assert of(table, kind="difference", metric="ebpg")["better"] == OTHER  # higher is better
        assert of(table, kind="difference", metric="drop")["better"] == OTHER  # lower is
        worse = summarise(output(self.rows(-0.02), name="worse"))
        assert of(worse, kind="difference", metric="ebpg")["better"] == ONE
        assert of(worse, kind="difference", metric="drop")["better"] == ONE

    def test_say_nothing_where_the_interval_holds_0(self, output):
        table = summarise(output(self.rows(0.0)))
        change = of(table, kind="difference", metric="ebpg")
        assert change["low"] < 0 < change["high"]
        assert change["better"] is None

    def test_say_nothing_of_a_few_images_whatever_the_interval(self, output):
        few = [each for each in self.rows(0.5, 0.0) if int(each["image_id"]) < FEWEST_IMAGES - 1]
        change = of(summarise(output(few)), kind="difference", metric="ebpg")
        assert change["high"] < 0
        assert change["better"] is None
        enough = [each for each in self.rows(0.5, 0.0) if int(each["image_id"]) < FEWEST_IMAGES]
        assert of(summarise(output(enough, name="enough")), kind="difference", metric="ebpg")["better"] == OTHER

    def test_take_only_what_both_methods_have(self, output):
        rows = [row("a", ONE, drop=0.5), row("a", OTHER, drop=0.25), row("b", ONE, drop=0.9), row("c", OTHER, drop=0.1)]
        rows += [row("d", ONE, drop=None), row("d", OTHER, drop=0.1)]
        change = of(summarise(output(rows)), kind="difference", metric="drop")
        assert (change["mean"], change["rows"], change["images"], change["better"]) == (0.25, 1, 1, None)

    def test_of_three_methods_are_of_every_two(self, output):
        methods = ("grad-cam", "grad-cam++", "integrated-grad-cam")
        table = summarise(output([row(f"{n}", method, drop=n / 5) for n in range(5) for method in methods]))
        pairs = {(each["method"], each["other"]) for each in table.to_pylist() if each["kind"] == "difference"}
        assert pairs == {(methods[0], methods[1]), (methods[0], methods[2]), (methods[1], methods[2])}


class TestTables:
    def test_do_not_depend_on_shards(self, output, monkeypatch):
        generator = np.random.default_rng(2)
        rows = [
            row(f"{n}", method, target, drop=generator.random(), ebpg=generator.random() if n % 3 else None)
            for n in range(40)
            for target in range(1 + n % 3)
            for method in (ONE, OTHER)
        ]
        whole = summarise(output(rows)).to_pylist()
        monkeypatch.setattr("igcam_batch.report.summary._IMAGES_AT_ONCE", 7)
        parts = summarise(output(rows, 3, "parts")).to_pylist()
        assert len(whole) == len(parts)
        for one, other in zip(whole, parts, strict=True):
            for name, value in one.items():
                expected = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
                assert other[name] == expected, (name, one, other)

    def test_are_written_as_parquet_and_as_json_that_any_parser_reads(self, output):
        place = output([row("a", ONE, drop=0.5), row("b", ONE, drop=None), row("a", OTHER, drop=0.25)])
        written = write_summary(place)
        assert read_summary(place).equals(written)

        def refuse(name: str) -> None:
            raise ValueError(name)  # NaN is no JSON

        content = json.loads((Path(place) / "summary.json").read_text(), parse_constant=refuse)
        assert content["methods"][ONE]["drop"]["mean"] == 0.5
        assert content["methods"][ONE]["drop"]["rows"] == 1
        assert content["classes"]["3"]["methods"][OTHER]["drop"]["mean"] == 0.25
        assert content["classes"]["3"]["name"] == "class 3"
        [change] = [each for each in content["differences"] if each["metric"] == "drop"]
        assert (change["mean"], change["better"]) == (0.25, None)

    def test_of_a_run_whose_images_all_failed_have_no_rows(self, output, tmp_path):
        store = open_store(str(tmp_path / "failed"))
        commit_shard(store, 0, SCORES.empty_table(), pa.table({"heatmap": [1]}), FAILURES.empty_table(), 3)
        assert write_summary(str(tmp_path / "failed")).num_rows == 0

    def test_of_nothing_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="holds no scores of an audit"):
            summarise(str(tmp_path))
        with pytest.raises(InputError, match=r"holds no summary.parquet; `igcam-batch report "):
            read_summary(str(tmp_path))
