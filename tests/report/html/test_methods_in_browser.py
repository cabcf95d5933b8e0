"""Another method is chosen: what follows it, and what stays and says so."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import opened
from playwright.sync_api import Browser, Page
from shown_runs import OTHER
from written_runs import METHOD

pytestmark = pytest.mark.xdist_group("browser")


def numbers(page: Page, gallery: str, pattern: str, part: str = ".numbers") -> list[float]:
    """A number of each card of a gallery."""
    said = page.locator(f"[data-gallery='{gallery}'] {part}").all_inner_texts()
    return [float(found[1].replace("−", "-")) for text in said if (found := re.search(pattern, text))]


@pytest.fixture(params=[METHOD, OTHER])
def page(request: pytest.FixtureRequest, browser: Browser, opposite: Path) -> Iterator[Page]:
    """The report with either method chosen, its classes sorted by Drop before."""
    with opened(browser, opposite / "report.html") as (page, _):
        page.locator("#classes thead button", has_text="Drop").click()
        page.select_option("#method", request.param)
        yield page


def test_the_table_of_classes_stays_sorted(page: Page) -> None:
    drops = [float(text) for text in page.locator("#classes tbody td:nth-last-child(2)").all_inner_texts()]
    assert drops == sorted(drops, reverse=True)
    assert len(set(drops)) == 2
    assert page.locator("#classes th[aria-sort=descending]").inner_text().startswith("Drop")


def test_galleries_are_ranked_by_the_method_that_is_chosen(page: Page) -> None:
    worst, best = (numbers(page, gallery, r"EBPG (\d+)") for gallery in ("worst", "best"))
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert worst[-1] < best[-1]
    assert page.locator("#galleries [data-method]").inner_text() == page.locator("#method").input_value()


def test_a_card_shows_the_number_that_its_gallery_ranks_by(page: Page) -> None:
    lost = numbers(page, "drop", r"confidence falls by (\d+) points", ".says")
    assert len(lost) == 12
    assert lost == sorted(lost, reverse=True)
    alike = numbers(page, "disagree", r"rank correlation ([−.\d]+)", ".says")
    assert alike == sorted(alike)
    assert alike[-1] < 0.5
    assert page.locator("[data-gallery='disagree'] .says").first.is_visible()


def test_findings_stay_those_of_the_method_whose_maps_were_searched(page: Page) -> None:
    assert f"sampled maps of {METHOD}" in page.locator("#findings > p").inner_text()
    shown = page.locator("#findings .card canvas").evaluate_all("all => all.map((canvas) => canvas.dataset.map)")
    first = page.evaluate(f"Object.values(data.cards).map((card) => card.methods['{METHOD}'].map)")
    assert shown
    assert set(shown) <= set(first)
