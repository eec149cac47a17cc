"""A person at the page: Debian's Chromium, driven by Playwright. Tests that need it skip where it is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stages.annotation.batch import Batch
from stages.exchange.html import export, read
from stages.exchange.tools import ExportOptions, ReadOptions, Returned

# The text under a node as it was written: what stands in a tag is turned back into its characters.
WRITTEN = """node => {
  const parts = [];
  const walk = (at) => {
    if (at.nodeType === Node.TEXT_NODE) parts.push(at.data);
    else if (at.className === "tag") {
      const [, code, times] = at.textContent.match(/^\\[U\\+([0-9A-F]+)(?: \\u00d7(\\d+))?\\]$/);
      parts.push(String.fromCodePoint(parseInt(code, 16)).repeat(Number(times ?? 1)));
    } else at.childNodes.forEach(walk);
  };
  walk(node);
  return Array.from({length: parts.join("").length}, (_, i) => parts.join("").charCodeAt(i));
}"""


class Annotator:
    """One tab. `complaints` are errors and messages of the console; a test ends with none."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab, self.complaints = tab, []
        tab.set_default_timeout(30_000)
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on(
            "request", lambda request: request.url.startswith(("file:", "blob:")) or self.complaints.append(request.url)
        )
        tab.goto(url)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def heading(self) -> str:
        return self.tab.locator("h1").inner_text()

    def card(self, letter: str) -> Any:
        return self.tab.get_by_role("group", name=f"Answer {letter}")

    def standing(self, letter: str) -> str:
        """What a screen reader says of the card."""
        return self.card(letter).locator("legend").inner_text()

    def texts(self) -> list[str]:
        """The prompt, then the completions, as they were written."""
        units = [node.evaluate(WRITTEN) for node in self.tab.locator(".message .text, .card .text").all()]
        return [
            b"".join(unit.to_bytes(2, "little") for unit in text).decode("utf-16-le", "surrogatepass") for text in units
        ]

    def download(self, folder: Path) -> Path:
        """Press Enter where the download is focused."""
        with self.tab.expect_download() as wait:
            self.press("Enter")
        path = folder / wait.value.suggested_filename
        wait.value.save_as(path)
        return path

    def answers(self, batch: Batch, folder: Path) -> Returned:
        return read(self.download(folder), batch, ReadOptions())


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, or a skip that says what is missing."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed: pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"Chromium does not start here: {str(error)[:200]}")
        yield browser
        browser.close()


def address(batch: Batch, folder: Path, annotator: str = "ann1") -> str:
    """Writes the annotator's page; its file: URL."""
    return export(batch, folder, ExportOptions(annotators=[annotator]))[0].as_uri()
