"""The two ways to show a preview: readable without colour, and safe whatever the rows say."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest

from stages.preview import page, terminal
from stages.preview.pieces import Piece
from stages.preview.preview import Part, Preview, Row, Section, Warned

HOSTILE = "\x1b[31m\x1b]0;x\x07\u202e</span></style><script>alert(1)</script><img src=x onerror=alert(2)>"


def piece(text: str, counts: bool = False, cut: bool = False, special: bool = False) -> Piece:
    return Piece(text, (7,), counts, cut, special)


def made(pieces: list[Piece], name: str = "rows") -> Preview:
    row = Row(1, name, name, [Part("conversation", pieces)], 5, 5, 2, "", [name])
    section = Section(name, [name], [("rows", name)], [Warned(name, name, [1, 2, 3, 4, 5, 6, 7])], [row])
    return Preview(name, name, name, [section])


def shown(preview: Preview) -> str:
    stream = io.StringIO()
    terminal.show(preview, stream)
    return stream.getvalue()


def body(preview: Preview) -> str:
    return shown(preview).partition("-- conversation --\n")[2]


def test_without_colour_tokens_are_divided_and_those_that_count_are_bracketed() -> None:
    tokens = [piece("Hi"), piece(" you\n"), piece("On", True), piece(" time", True), piece(".", True, True)]
    assert body(made(tokens)) == "Hi¦ you↵\n⟦On¦ time⟧[cut: ⟦.⟧]\n"


def test_line_end_between_tokens_stands_behind_the_sign() -> None:
    assert body(made([piece("a\n"), piece("b")])) == "a↵¦\nb\n"


def test_with_colour_tokens_that_count_have_a_background_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = shown(made([piece("Hi"), piece("On", True), piece(" time", True)]))
    assert re.search("\x1b\\[30;102mOn", found) and re.search("\x1b\\[30;42m time", found)
    assert "⟦" not in found


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦On⟧" in body(made([piece("On", True)]))


def test_terminal_gets_no_escape_sequence_from_the_data() -> None:
    found = shown(made([piece(HOSTILE), piece(HOSTILE, True), piece(HOSTILE, True, True)], HOSTILE))
    assert not set(found) & set("\x1b\x07\u202e")
    assert found.count("⟨U+001B⟩[31m⟨U+001B⟩]0;x⟨U+0007⟩⟨U+202E⟩") == 14


def test_brackets_in_square_form_are_no_markup() -> None:
    assert "[red]x[/red]" in body(made([piece("[red]x[/red]")]))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(preview: Preview) -> Tags:
    tags = Tags()
    tags.feed(page.render(preview))
    return tags


def test_page_holds_hostile_text_as_text() -> None:
    tags = parsed(made([piece(HOSTILE), piece(HOSTILE, True), piece(HOSTILE, True, True)], HOSTILE))
    assert not tags.found & {"script", "img", "iframe", "link", "object"}
    assert not [name for name in tags.attributes if name.startswith("on") or name in ("src", "style")]
    assert tags.text.count("<script>alert(1)</script>") >= 10
    assert not set(tags.text) & set("\x1b\x07\u202e")


def test_page_loads_nothing_and_follows_the_systems_colours() -> None:
    html = page.render(made([piece("x")]))
    assert "default-src 'none'" in html and "prefers-color-scheme: dark" in html and "width=device-width" in html
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(", html)


def test_page_marks_what_counts_and_what_is_cut_without_colour_too() -> None:
    html = page.render(made([piece("in"), piece("out", True), piece("gone", True, True)]))
    assert re.search(r'<mark class="run counts"><span class="t b" title="7">out</span></mark>', html)
    assert re.search(r'<del class="run cut"><span class="t a" title="7">gone</span></del>', html)


def test_warning_names_the_first_rows_and_how_many_there_are() -> None:
    assert "warning: rows (7 rows: 1, 2, 3, 4, 5, ...)" in shown(made([piece("x")]))
