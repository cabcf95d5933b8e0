"""report.html and comparison.html as people meet them: in a browser."""

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import opened, painted
from playwright.sync_api import Browser, Page
from shown_runs import NAMES, OTHER
from written_runs import METHOD, blob, score, write_run

from igcam_batch.report.compare.compare import compare
from igcam_batch.report.html.page import write_report

pytestmark = pytest.mark.xdist_group("browser")


def column(page: Page, place: int) -> list[str]:
    return page.locator("#classes tbody tr:visible").locator(f"> *:nth-child({place})").all_inner_texts()


def test_it_opens_from_disk_without_a_complaint_and_draws_every_map(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        assert page.locator("h1").inner_text() == "small_cnn on in"
        for section in ("findings", "metrics", "galleries", "distributions", "by-class", "cues", "failures", "run"):
            assert page.locator(f"#{section} h2").is_visible()
        for image in page.locator(".card img").all():
            image.scroll_into_view_if_needed()
        page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        for gallery in ("drop", "worst", "best", "sample"):
            assert painted(page, f"[aria-labelledby='gallery-{gallery}'] canvas") > 1000


def test_a_map_is_upsampled_as_the_metrics_do(browser: Browser, tmp_path: Path) -> None:
    import torch

    from igcam_batch.attribution.upsample import upsample

    rows = [score(f"{number}.png", number % 2) for number in range(40)]
    write_report(write_run(tmp_path, rows, np.stack([blob(6, 6) if row["target"] else blob(3, 3) for row in rows])))
    with opened(browser, tmp_path / "report.html") as (page, _):
        page.select_option("#colours", "viridis")
        canvas = "#findings canvas[data-alone]"
        painted(page, canvas)
        [levels, shape, pixels, table] = page.evaluate(
            """selector => {
              const canvas = document.querySelector(selector), map = data.maps[canvas.dataset.map];
              const drawn = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
              return [[...bytes(map.levels)], map.shape, [...drawn], [...colours.viridis]];
            }""",
            canvas,
        )
    grid = torch.tensor(levels).reshape(1, *shape)
    expected = upsample(grid, (224, 224))[0].numpy()
    drawn = np.array(pixels).reshape(224, 224, 4)[..., :3]
    near = np.array(table).reshape(256, 3)[np.clip(np.rint(expected).astype(int), 0, 255)]
    assert np.abs(drawn - near).max() <= 3  # a level is a step of the colour map


def test_the_table_of_classes_sorts_by_click_and_by_key(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        head = page.locator("#classes thead th")
        head.nth(0).locator("button").click()
        assert column(page, 1) == ["class 7", "class 8", "class 9", "class 10"]  # as people count
        assert head.nth(0).get_attribute("aria-sort") == "ascending"
        assert head.nth(1).get_attribute("aria-sort") is None
        head.nth(3).locator("button").focus()
        page.keyboard.press("Enter")
        falling = [float(text) for text in column(page, 4)]
        assert falling == sorted(falling, reverse=True)
        page.keyboard.press("Enter")
        assert [float(text) for text in column(page, 4)] == falling[::-1]
        assert head.nth(3).get_attribute("aria-sort") == "ascending"


def test_the_table_of_classes_filters_by_name_and_rows(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        page.fill("#named", "CLASS 1")
        assert column(page, 1) == ["class 10"]
        assert page.locator("#left").inner_text() == "1 of 4 classes"
        page.fill("#named", "")
        page.fill("#least", "4")
        assert column(page, 1) == []
        assert page.locator("#left").inner_text() == "0 of 4 classes"


def test_a_method_is_chosen_for_cards_and_classes_alike(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        page.locator("#classes thead th").nth(0).locator("button").click()
        drops = [column(page, place) for place in range(1, 9)]
        words = page.locator("[aria-labelledby='gallery-drop'] .numbers").first.inner_text()
        page.select_option("#method", OTHER)
        assert page.locator("[aria-labelledby='gallery-drop'] .numbers").first.inner_text() != words
        after = [column(page, place) for place in range(1, 9)]
        changed = [place for place in range(8) if drops[place] != after[place]]
        assert len(changed) == 1  # of drop alone
        for before, now in zip(drops[changed[0]], after[changed[0]], strict=True):
            assert float(now) == pytest.approx(float(before) + 10, abs=0.11)


def test_a_card_opens_large_by_key_and_closes_where_it_was(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        card = page.locator("[aria-labelledby='gallery-worst'] button.card").first
        card.focus()
        page.keyboard.press("Enter")
        assert page.locator("#large").is_visible()
        assert page.locator("#large figcaption").all_inner_texts()[1].startswith(f"{METHOD}: EBPG")
        assert len(page.locator("#large figure").all()) == 3
        assert painted(page, "#large canvas") > 1000
        page.keyboard.press("Escape")
        assert not page.locator("#large").is_visible()
        assert card.evaluate("card => card === document.activeElement")


def test_names_of_files_are_text(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html") as (page, _):
        shown = page.locator("[aria-labelledby='gallery-sample'] .id").all_inner_texts()
        assert sorted(shown) == sorted(NAMES)
        assert page.locator("main b b").count() == 0


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}, id="phone"),
        pytest.param({"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2}, id="200 %"),
        pytest.param({"viewport": {"width": 320, "height": 256}, "device_scale_factor": 4}, id="400 %"),
    ],
)
def test_nothing_is_cut_off_when_narrow(browser: Browser, output: Path, context: dict) -> None:
    with opened(browser, output / "report.html", **context) as (page, _):
        width = context["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = page.evaluate(
            """width => [...document.querySelectorAll('h1, h2, h3, p, li, label, dd, figcaption')]
                 .filter((part) => part.getClientRects().length && !part.closest('.wide, dialog'))
                 .filter((part) => part.getBoundingClientRect().right > width + 1).map((part) => part.outerHTML)""",
            width,
        )
        assert beyond == []


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser, output: Path) -> None:
    for scheme, other in (("light", "dark"), ("dark", "light")):
        with opened(browser, output / "report.html", color_scheme=scheme) as (page, _):
            colour = "getComputedStyle(document.body).backgroundColor"
            before = page.evaluate(colour)
            assert page.locator("#theme").inner_text().lower() == other
            page.click("#theme")
            assert page.evaluate(colour) != before
            page.click("#theme")
            assert page.evaluate(colour) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(browser: Browser, output: Path, tmp_path: Path, scheme: str) -> None:
    compare(str(output), str(output), str(tmp_path / "cmp"), method_b=OTHER)
    for file in (output / "report.html", tmp_path / "cmp" / "comparison.html"):
        with opened(browser, file, color_scheme=scheme) as (page, _):
            for details in page.locator("details").all():
                details.locator("summary").click()
            found = Axe().run(page)
            assert [violation["id"] for violation in found.response["violations"]] == [], found.generate_report()


def test_it_reads_without_scripts(browser: Browser, output: Path) -> None:
    with opened(browser, output / "report.html", java_script_enabled=False) as (page, _):
        assert page.locator("noscript p").is_visible()
        assert page.locator("#classes tbody tr").count() == 4
        assert not page.locator("#method").is_visible()


def test_a_comparison_shows_both_sides(browser: Browser, output: Path, tmp_path: Path) -> None:
    compare(str(output), str(output), str(tmp_path / "cmp"), method_b=OTHER)
    with opened(browser, tmp_path / "cmp" / "comparison.html") as (page, _):
        assert page.locator("h1").inner_text() == f"A {METHOD} against B {OTHER}"
        two = page.locator("[aria-labelledby='gallery-elsewhere'] .two").first
        assert two.locator("canvas").count() == 2
        two.click()
        words = page.locator("#large figcaption").all_inner_texts()
        assert [text[:2] for text in words] == ["th", "A:", "B:"]
        page.keyboard.press("Escape")
        page.locator("#classes thead button").nth(2).click()
        assert page.locator("#classes th[aria-sort]").count() == 1
