"""The queries of docs/cues.md, as they stand there."""

import re
from pathlib import Path

import duckdb
import pytest
from cue_runs import anywhere, ids, spots, write_run

from igcam_batch.report.cues import write_clusters
from igcam_batch.report.cues.columns import clusters_schema

PAGE = (Path(__file__).parents[3] / "docs" / "cues.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = spots(ids("odd", 40), 0, 6, 6, name="fox", ebpg=0.1) + anywhere(ids("hen", 60), 1, name="hen", ebpg=0.3)
    run = write_run(tmp_path_factory.mktemp("run"), rows)
    write_clusters(run)
    return run


def answers(query: str, output: str) -> list[tuple]:
    return duckdb.sql(query.replace("OUTPUT", output)).fetchall()


def test_findings_classes_and_images_are_what_the_queries_say(output: str) -> None:
    findings, classes, images = (answers(query, output) for query in QUERIES)
    assert findings[0][:1] + findings[0][3:7] == (1, "fox", "corner", "bottom right", 40)
    assert [row[1] for row in classes] == ["fox", "hen"]
    assert classes[0][3] > 10 > classes[1][3]
    assert {row[0] for row in images} == set(ids("odd", 40))


def test_every_column_is_on_the_page() -> None:
    said = set(re.findall(r"`(\w+)`", PAGE))
    names = [name.removeprefix("usual_").removeprefix("error_") for name in clusters_schema((7, 7)).names]
    assert not set(names) - said
