"""Pages in a real browser: headless Chromium, which a machine has as Debian's package `chromium`, or not."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips the test where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Heard:
    """What a page complained about, and what it asked for beside itself."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hear(self, complaint: str) -> None:
        """Note it, unless it is of our own reading of canvases."""
        if "willReadFrequently" not in complaint:
            self.complaints.append(complaint)


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[tuple[Page, Heard]]:
    """A page from disk; fails at the end where it complained, or asked the network for anything."""
    heard = Heard()
    with browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context) as made:
        page = made.new_page()
        page.on("console", lambda message: heard.hear(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (heard.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: heard.requests.append(request.url))
        page.goto(file.as_uri())
        yield page, heard
        assert heard.complaints == []
        assert [url for url in heard.requests if not url.startswith(("data:", file.as_uri()))] == []


def painted(page: Page, selector: str) -> int:
    """How many pixels of the first such canvas are not clear, once it is drawn."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_function(_PAINTED, arg=selector)
    return int(page.evaluate(_PAINTED, selector))


_PAINTED = """selector => {
  const canvas = document.querySelector(selector);
  const drawn = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return drawn.filter((value, place) => place % 4 === 3 && value > 0).length;
}"""
