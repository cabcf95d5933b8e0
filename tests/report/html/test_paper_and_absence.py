"""A page on paper, and cards without their picture."""

from pathlib import Path

import pytest
from browser import opened
from playwright.sync_api import Browser

pytestmark = pytest.mark.xdist_group("browser")

_FOLDED = "document.querySelectorAll('details:not([open])').length"
_BLANK = """() => [...document.querySelectorAll('canvas[data-map]')].filter((canvas) =>
  !canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value)).length"""


def test_a_printed_page_has_every_map_and_what_is_folded_away(browser: Browser, opposite: Path) -> None:
    with opened(browser, opposite / "report.html") as (page, _):
        assert page.evaluate(_BLANK) > 0
        page.evaluate(f"addEventListener('beforeprint', () => {{ window.folded = {_FOLDED}; }})")
        assert page.pdf().startswith(b"%PDF")
        assert page.evaluate(_BLANK) == 0
        assert page.evaluate("folded") == 0
        assert page.locator("details[open]").count() == 0  # folded again


@pytest.mark.parametrize("chosen", ["by the system", "by the button"])
def test_paper_is_white_whatever_the_screen(browser: Browser, output: Path, chosen: str) -> None:
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    with opened(browser, output / "report.html", color_scheme="light") as (page, _):
        light = page.evaluate(colours)
    scheme = "dark" if chosen == "by the system" else "light"
    with opened(browser, output / "report.html", color_scheme=scheme) as (page, _):
        if chosen == "by the button":
            page.click("#theme")
        assert page.evaluate(colours) != light
        page.emulate_media(media="print")
        assert page.evaluate(colours) == light


def test_a_card_whose_image_is_gone_says_so_where_people_see_it(browser: Browser, opposite: Path) -> None:
    with opened(browser, opposite / "report.html") as (page, _):
        said = page.locator("[data-gallery=sample] .gone").first
        said.scroll_into_view_if_needed()
        assert said.inner_text() == "the image is not where it was, or was changed"
        assert said.evaluate(
            """part => { const { left, top, width, height } = part.getBoundingClientRect();
                 return document.elementFromPoint(left + width / 2, top + height / 2) === part; }"""
        )
