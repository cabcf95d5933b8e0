"""A browser, and pages for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium
from playwright.sync_api import Browser
from shown_runs import four_classes, hard_names, opposite_methods

from igcam_batch.report.html.page import write_report


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reported(four_classes(tmp_path_factory.mktemp("four")))


@pytest.fixture(scope="package")
def opposite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reported(opposite_methods(tmp_path_factory.mktemp("opposite")))


@pytest.fixture(scope="package")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reported(hard_names(tmp_path_factory.mktemp("hard")))


def reported(output: Path) -> Path:
    write_report(str(output))
    return output
