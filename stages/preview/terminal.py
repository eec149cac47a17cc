"""A preview on a terminal: tokens apart by colour; where there is no colour, by signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from stages.preview.pieces import BEGIN, BETWEEN, END, Piece, tagged, visible
from stages.preview.preview import Part, Preview, Row, Section, Warned

COUNTS = ("black on green", "black on bright_green")  # two that alternate from token to token
CONTEXT = ("default on default", "dim")
SPECIAL = "bold magenta"
TAG = "bold yellow"
CUT = ("red strike", "dim red strike")
EXAMPLES = 5  # row numbers named by a warning
Shown = Callable[[Sequence[Piece]], Text]


def show(preview: Preview, stream: TextIO) -> None:
    """Write it, in colour where the stream takes colour."""
    console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
    shown = _plain if console.color_system is None or console.no_color else _coloured
    console.print(Text(visible(f"{preview.stage} ({preview.kind}) on {preview.model}"), "bold"))
    console.print(_legend(shown))
    for section in preview.sections:
        _show_section(console, section, shown)


def _legend(shown: Shown) -> Text:
    def one(text: str, **kind: bool) -> Piece:
        known = {"counts": False, "cut": False, "is_special": False, **kind}
        return Piece(text, (), **known)

    parts = [
        shown([one("context"), one(" only")]),
        shown([one("counts", counts=True), one(" in the loss", counts=True)]),
        shown([one("cut", cut=True), one(" off", cut=True)]),
    ]
    return Text("  ").join([Text("tokens:"), *parts])


def _show_section(console: Console, section: Section, shown: Shown) -> None:
    console.print()
    console.print(Text(visible(f"{section.field}: {', '.join(section.sources)}"), "bold"))
    width = max(len(name) for name, _ in section.facts)
    for name, told in section.facts:
        console.print(Text(f"  {name.ljust(width)}  {visible(told)}"))
    for warned in section.warnings:
        console.print(Text(f"warning: {visible(warned.told)} ({where(warned)})", "bold yellow"))
        console.print(Text(f"  -> {visible(warned.remedy)}"))
    for row in section.rows:
        console.print()
        console.print(Text(visible(heading(row)), "bold"))
        for note in row.notes:
            console.print(Text(f"  {visible(note)}"))
        for part in row.parts:
            _show_part(console, part, shown)


def heading(row: Row) -> str:
    """A row in one line."""
    told = f"row {row.number} of {row.source}, id {row.id}"
    if row.left_out:
        return f"{told}: LEFT OUT, {row.left_out}" if row.parts else f"{told}: {row.left_out}"
    counted = "" if row.num_counted is None else f", {row.num_counted:,} of them in the loss"
    longest = "" if row.length == row.num_tokens else f"; the longest sequence has {row.length:,}"
    return f"{told}: {row.num_tokens:,} tokens{counted}{longest}"


def where(warned: Warned) -> str:
    """How many rows, and the first of them."""
    numbers = ", ".join(str(number) for number in warned.rows[:EXAMPLES])
    more = ", ..." if len(warned.rows) > EXAMPLES else ""
    return f"row {numbers}" if len(warned.rows) == 1 else f"{len(warned.rows):,} rows: {numbers}{more}"


def _show_part(console: Console, part: Part, shown: Shown) -> None:
    console.print(Text(f"-- {part.label} --", "cyan"))
    text = shown(part.pieces)
    if text.plain.endswith("\n"):  # the print ends the line
        text.right_crop(1)
    console.print(text)


def _coloured(pieces: Sequence[Piece]) -> Text:
    """Tokens in two shades that alternate; on green those that count in the loss."""
    line = Text()
    for number, piece in enumerate(pieces):
        style = (CUT if piece.cut else COUNTS if piece.counts else CONTEXT)[number % 2]
        if piece.is_special and not piece.cut:
            style = f"bold {style}" if piece.counts else SPECIAL
        for text, is_tag in tagged(piece.text):
            line.append(text, TAG if is_tag and not piece.counts and not piece.cut else style)
    return line


def _plain(pieces: Sequence[Piece]) -> Text:
    """A sign between tokens; brackets around those that count, and `[cut: ...]` around those that are removed."""
    runs: list[tuple[Piece, list[str]]] = []
    for piece in pieces:
        if not runs or (runs[-1][0].counts, runs[-1][0].cut) != (piece.counts, piece.cut):
            runs.append((piece, []))
        runs[-1][1].append("".join(text for text, _ in tagged(piece.text)))
    return Text("".join(_run(first, texts) for first, texts in runs))


def _run(first: Piece, texts: Sequence[str]) -> str:
    """Tokens that count alike, of which the first tells how. A sign behind a line's end stands before it."""
    joined = BETWEEN.join(texts).replace(f"\n{BETWEEN}", f"{BETWEEN}\n")
    joined = f"{BEGIN}{joined}{END}" if first.counts else joined
    return f"[cut: {joined}]" if first.cut else joined
