"""The page in a real browser: nothing is loaded or complained of, filters work, and it fits a phone and paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import whole_run

from pipeline import report

pytestmark = pytest.mark.browser
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, or a skip that says what is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"Chromium does not start here: {str(error)[:200]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.write(whole_run.write(tmp_path_factory.mktemp("runs") / "tickets").root).as_uri()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page; at the end of the test it must have asked for nothing and complained of nothing."""
    opened: list[Any] = []
    wrong: list[str] = []

    def open_one(**options: Any) -> Any:
        tab = browser.new_context(**options).new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: wrong.append(request.url) if request.url != address else None)
        opened.append(tab)
        tab.goto(address)
        return tab

    yield open_one
    for tab in opened:
        tab.context.close()
    assert wrong == []


def shown(tab: Any) -> list[int]:
    """The numbers of the tickets whose prompts can be seen."""
    texts = tab.locator(".sample:visible .prompt").all_inner_texts()
    return [int(found[1]) for text in texts if (found := re.search(r"My invoice (\d+)", text))]


def overflow(tab: Any) -> int:
    return int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_page_is_whole_and_no_text_of_a_model_has_run(open_page: Any) -> None:
    tab = open_page(viewport=DESK)
    assert tab.title() == "tickets \N{EN DASH} report" and tab.locator(".sample").count() == 10
    assert tab.locator("img").count() == 0 and tab.locator("script").count() == 1
    assert tab.locator(".verdict p").first.is_visible()
    assert tab.locator(".verdict p").first.bounding_box()["y"] < 300


def test_filters_leave_what_they_say(open_page: Any) -> None:
    tab = open_page(viewport=DESK)
    assert shown(tab) == list(range(10))
    tab.get_by_label("Only where an answer differs from the first").check()
    assert shown(tab) == [0, 2, 4, 6, 8] and tab.locator("#count").inner_text() == "5 of 10 prompts"
    tab.get_by_label("Only where label_accuracy differs").check()
    assert shown(tab) == [0, 2]
    tab.get_by_label("Filter").fill("INVOICE 2")
    assert shown(tab) == [2]
    tab.get_by_label("Filter").fill("no such word")
    assert shown(tab) == [] and tab.locator(".set:visible").count() == 0
    tab.get_by_label("Filter").fill("")
    tab.get_by_label("Only where an answer differs from the first").uncheck()
    tab.get_by_label("Only where label_accuracy differs").uncheck()
    assert shown(tab) == list(range(10)) and tab.locator("#count").inner_text() == "10 prompts"


def test_marks_are_gone_when_they_are_switched_off(open_page: Any) -> None:
    tab = open_page(viewport=DESK)
    colour = "getComputedStyle(document.querySelector('.answer mark')).backgroundColor"
    assert tab.evaluate(colour) != "rgba(0, 0, 0, 0)"
    tab.get_by_label("Mark differences").uncheck()
    assert tab.evaluate(colour) == "rgba(0, 0, 0, 0)"


def test_page_can_be_read_when_scripts_are_off(open_page: Any) -> None:
    tab = open_page(viewport=DESK, java_script_enabled=False)
    assert shown(tab) == list(range(10)) and not tab.locator(".controls").is_visible()
    tab.get_by_text("What rm measured").click()
    assert tab.get_by_text("Reliability").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_scrolls_down_only_when_it_is_on_a_phone(open_page: Any, scheme: str) -> None:
    tab = open_page(viewport=PHONE, color_scheme=scheme)
    assert overflow(tab) == 0
    tab.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert overflow(tab) == 0
    assert tab.locator(".narrow svg").first.is_visible() and not tab.locator(".wide svg").first.is_visible()
    wide = tab.evaluate("Array.from(document.querySelectorAll('.scroll')).some((box) => box.scrollWidth > 390)")
    assert wide, "the run has a table that is wider than a phone"


BROKEN = """() => Array.from(document.querySelectorAll('table td, table th')).flatMap((cell) => {
  const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [], range = document.createRange();
  while (walk.nextNode()) {
    for (const token of walk.currentNode.data.matchAll(/\\[.*?\\]|\\S+/g)) {
      range.setStart(walk.currentNode, token.index);
      range.setEnd(walk.currentNode, token.index + token[0].length);
      const lines = new Set(Array.from(range.getClientRects(), (box) => Math.round(box.top)));
      if (lines.size > 1 && token[0].length < 30) found.push(token[0]);
    }
  }
  return found;
})"""


@pytest.mark.parametrize("width", [390, 680, 1280])
def test_no_number_or_name_in_a_table_is_broken_in_two(open_page: Any, width: int) -> None:
    """A page of paper is 680 wide; names may be broken behind a sign, where a new piece of text begins."""
    tab = open_page(viewport={"width": width, "height": 900})
    if width == 680:
        tab.emulate_media(media="print")
    tab.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert tab.evaluate(BROKEN) == []


def scroller(tab: Any, title: str) -> Any:
    return tab.get_by_role("region", name=title)


def test_tables_of_seven_candidates_fit_a_desk(open_page: Any) -> None:
    tab = open_page(viewport=DESK)
    for title in ("Candidates on held-out prompts", "Candidates on label_accuracy"):
        assert scroller(tab, title).evaluate("box => box.scrollWidth - box.clientWidth") == 0, title


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shade_is_where_a_table_goes_on(open_page: Any, scheme: str) -> None:
    """A strip at the caption's height, where both ends of the page are bare paper."""
    tab = open_page(viewport=PHONE, color_scheme=scheme)
    box = scroller(tab, "Candidates on label_accuracy")
    box.locator("caption").scroll_into_view_if_needed()

    def strip(part: Any) -> bytes:
        place = part.bounding_box()
        corner = {"x": place["x"] + place["width"] - 6, "y": place["y"] + 2}
        return bytes(tab.screenshot(clip={**corner, "width": 5, "height": 5}))

    more = strip(box)
    box.evaluate("box => { box.scrollLeft = box.scrollWidth - box.clientWidth - 20; }")
    assert strip(box) == more, "a little is left"
    box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    end = strip(box)
    tab.locator(".verdict").scroll_into_view_if_needed()
    assert more != end and end == strip(tab.locator(".verdict"))


def test_words_out_of_sight_leave_rows_low_when_it_is_on_a_phone(open_page: Any) -> None:
    """In sight are two lines: a name of one or two, a figure and its interval."""
    tab = open_page(viewport=PHONE)
    rows = scroller(tab, "Candidates on label_accuracy").locator("tbody tr").all()
    heights = [row.bounding_box()["height"] for row in rows]
    assert len(heights) == len(whole_run.CANDIDATES) and max(heights) < 65


def test_names_in_a_plot_can_be_read_when_it_is_on_a_phone(open_page: Any) -> None:
    tab = open_page(viewport=PHONE)
    boxes = [label.bounding_box() for label in tab.locator(".narrow .label").all()]
    assert len(boxes) == len(whole_run.CANDIDATES) and all(box["height"] > 10 for box in boxes)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    for n, one in enumerate(boxes):
        for other in boxes[n + 1 :]:
            apart = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            assert apart or abs(one["y"] - other["y"]) > 9


def test_ink_stands_out_from_paper_when_it_is_dark(open_page: Any) -> None:
    tab = open_page(viewport=DESK, color_scheme="dark")
    dark, ink = (
        [int(part) for part in re.findall(r"\d+", tab.evaluate(f"getComputedStyle(document.body).{name}"))[:3]]
        for name in ("backgroundColor", "color")
    )
    assert max(dark) < 60 and min(ink) > 200
    fill = tab.evaluate("getComputedStyle(document.querySelector('svg .label')).fill")
    assert min(int(part) for part in re.findall(r"\d+", fill)[:3]) > 200


def test_paper_holds_every_table_and_what_is_folded(open_page: Any) -> None:
    tab = open_page(viewport={"width": 680, "height": 960})
    tab.emulate_media(media="print")
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert overflow(tab) == 0
    clipped = (
        "Array.from(document.querySelectorAll('table')).filter((t) => t.getBoundingClientRect().right > 680).length"
    )
    assert tab.evaluate(clipped) == 0
    assert tab.get_by_text("Held-out, before and after sft").first.is_visible()
    assert not tab.locator("nav").is_visible() and not tab.locator(".controls").is_visible()
    paper = tab.pdf(format="A4")
    assert paper.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", paper)) >= 5
