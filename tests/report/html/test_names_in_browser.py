"""Names of any length and direction, and predictions, in a browser."""

from pathlib import Path

import pytest
from browser import opened
from playwright.sync_api import Browser, Locator
from shown_runs import HEBREW, LONG

pytestmark = pytest.mark.xdist_group("browser")


def places(text: Locator, *parts: str) -> list[float]:
    """Where parts of a text begin, from the left, in pixels."""
    return text.evaluate(
        """(element, parts) => parts.map((part) => {
          const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = document.createRange();
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(part);
            if (at < 0) continue;
            range.setStart(node, at);
            range.setEnd(node, at + part.length);
            return range.getBoundingClientRect().left;
          }
          throw new Error(`no ${part} in ${element.textContent}`);
        })""",
        list(parts),
    )


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({"viewport": {"width": 1280, "height": 900}}, id="desktop"),
        pytest.param({"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}, id="phone"),
        pytest.param({"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2}, id="200 %"),
    ],
)
def test_a_long_name_does_not_widen_the_page(browser: Browser, hard: Path, context: dict) -> None:
    with opened(browser, hard / "report.html", **context) as (page, _):
        assert LONG in page.locator("#findings").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= context["viewport"]["width"]
        page.locator("[data-gallery] button.card").first.click()
        assert page.locator("#large").evaluate("part => part.scrollWidth <= part.clientWidth")


def test_a_name_from_right_to_left_leaves_its_sentence_in_order(browser: Browser, hard: Path) -> None:
    with opened(browser, hard / "report.html") as (page, _):
        card = page.locator("[data-gallery=sample] button.card", has_text=HEBREW).first
        card.click()
        for text in (card.locator("b"), page.locator("#large-title")):
            name, confidence, number, percent = places(text, HEBREW, "confidence", "67", "%")
            assert name < confidence < number < percent
        page.keyboard.press("Escape")
        title = page.locator(".finding h3", has_text=HEBREW)
        name, number, corner = places(title, HEBREW, ". ", "top left corner")
        assert number < name < corner


def test_what_is_predicted_is_shown_where_it_is_not_the_target(browser: Browser, hard: Path) -> None:
    with opened(browser, hard / "report.html") as (page, _):
        other = page.locator("[data-gallery=sample] button.card", has_text=HEBREW).first
        assert f"predicted: {LONG}" in other.inner_text()
        assert other.locator(".bad").count() == 0  # the target was no label: no error
        same = page.locator("[data-gallery=sample] button.card", has_not_text=HEBREW).first
        assert "predicted" not in same.inner_text()
        other.click()
        assert page.locator("#large-words").inner_text() == f"The model predicts {LONG}."
