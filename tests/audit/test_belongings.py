"""An audit replaces what an audit wrote, and nothing that may be somebody's."""

from pathlib import Path

import pytest

from igcam_batch.audit.belongings import clear, strays
from igcam_batch.audit.checks import check_places, existing_run
from igcam_batch.config import load_config
from igcam_batch.errors import InputError
from igcam_batch.sources import find_place
from igcam_batch.storage import LocalStore, open_store


@pytest.fixture
def output(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "project"))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("plan/floor.png", "plan"),
        ("plan/0123456789ab", "plan"),
        ("plan/ground-floor/manifest.parquet", "plan"),
        ("compact/my.csv", "compact"),
        ("scores/mine.parquet", "scores"),
        ("report.html", "report.html"),
        ("summary.json", "summary.json"),
        ("clusters.parquet", "clusters.parquet"),
    ],
)
def test_what_no_run_explains_is_named_and_left_alone(output: LocalStore, path: str, named: str) -> None:
    output.write(path, b"mine")
    config = load_config({"input": "in", "output": output.root, "model": "factories:small_cnn"})
    with pytest.raises(InputError, match=f"holds {named} but no run.json, so that they may be somebody's"):
        existing_run(config, output)
    assert output.read(path) == b"mine"


def test_what_a_run_left_that_ended_before_it_was_recorded_is_no_hindrance(output: LocalStore) -> None:
    output.write("plan/0123456789ab/manifest.parquet", b"")
    output.write("notes.txt", b"mine")
    assert strays(output) == []


def test_a_run_that_is_replaced_takes_all_that_is_its_own_and_nothing_else(output: LocalStore) -> None:
    ours = ("run.json", "scores/part-000000.parquet", "summary.json", "clusters.parquet", "report.html")
    theirs = ("plan/floor.png", "photographs/a.png", "notes.txt")
    plans = ("plan/0123456789ab/manifest.parquet", "plan/ba9876543210/manifest.parquet")
    for path in (*ours, *theirs, *plans):
        output.write(path, b"")
    clear(output, "plan/ba9876543210")
    assert {entry.path for entry in output.list()} == {*theirs, plans[1]}


@pytest.mark.parametrize("under", ["plan", "scores/deep"])
def test_images_that_lie_where_an_audit_writes_are_refused(output: LocalStore, under: str) -> None:
    output.write(f"{under}/a.png", b"")
    place = find_place(output.uri(under))
    with pytest.raises(InputError, match=rf"INPUT .*/{under}: is in OUTPUT's {under.partition('/')[0]}/"):
        check_places(place, output)


def test_images_beside_the_tables_may_be_in_output(output: LocalStore) -> None:
    output.write("planned/a.png", b"")
    check_places(find_place(output.uri("planned")), output)
    check_places(find_place(output.root), open_store(f"{output.root}/audit"))
