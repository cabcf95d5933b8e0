"""The report of a run that an audit made."""

from pathlib import Path

import pytest
from browser import opened, painted
from datasets import as_voc
from finished_runs import finished_run
from playwright.sync_api import Browser

from igcam_batch.report.html.page import write_report

pytestmark = pytest.mark.xdist_group("browser")


def test_it_opens_and_draws_its_maps_and_boxes(browser: Browser, tmp_path: Path) -> None:
    out = finished_run(as_voc(tmp_path / "data"), tmp_path / "out")
    write_report(out)
    with opened(browser, Path(out) / "report.html") as (page, _):
        assert page.locator(".facts li").first.inner_text().split() == ["3", "images", "explained"]
        assert painted(page, "[aria-labelledby='gallery-sample'] canvas") > 1000
        assert page.locator("[aria-labelledby='gallery-sample'] rect").count() >= 3
