"""Prompts in, answers out: columns on a terminal, plain lines elsewhere.

Nothing that a model says reaches the terminal raw.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.preview.pieces import visible

PROMPT = "> "
NARROW = 30  # columns below which texts side by side cannot be read


class Terminal:
    """Where the conversation takes place."""

    def __init__(self, given: TextIO, shown: TextIO, names: Sequence[str]) -> None:
        self._given, self._names = given, names
        self._console = Console(file=shown, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.asks = given.isatty() and shown.isatty()  # whether a person sits there
        if isinstance(given, io.TextIOWrapper):
            given.reconfigure(errors="replace")  # a byte that is no UTF-8 is a typing mistake, not ours

    def prompts(self) -> Iterator[str]:
        """Each line that says something; piped ones are shown too, so that the output reads as a transcript."""
        while True:
            try:
                line = self._line()
            except KeyboardInterrupt:
                if not self.asks:
                    raise
                self.say("")
                self.say("/quit or Ctrl-D ends")
                continue
            if line is None:
                return
            text = line.rstrip("\r\n")
            if not self.asks and text.strip():
                self.say(f"{PROMPT}{text}")
            if text.strip():
                yield text if text.startswith(" ") else text.strip()

    def _line(self) -> str | None:
        """The next line; None at the end."""
        if not self.asks:
            return self._given.readline() or None
        with suppress(ImportError):
            import readline  # noqa: F401  # input() then edits and remembers lines
        try:
            return input(PROMPT)
        except EOFError:
            self.say("")
            return None

    def say(self, text: str) -> None:
        """A line of ours, or of the user's."""
        self._console.print(shown(text))

    def show(self, texts: Sequence[str]) -> None:
        """Every candidate's answer."""
        width = self._console.width // len(texts) if texts else 0
        if self._console.is_terminal and len(texts) > 1 and width >= NARROW:
            self._show_columns(texts)
        else:
            for name, text in zip(self._names, texts, strict=True):
                head, *rest = shown(text).split("\n")
                self._console.print("\n".join([f"{name}: {head}", *(f"  {line}" for line in rest)]))
        self._console.print()

    def _show_columns(self, texts: Sequence[str]) -> None:
        table = Table(expand=True, show_lines=False)
        for name in self._names:
            table.add_column(Text(shown(name)), ratio=1, overflow="fold")
        table.add_row(*(Text(shown(text)) for text in texts))
        self._console.print(table, soft_wrap=False)


def shown(text: str) -> str:
    """Text of several lines that no terminal acts on: control, bidi and invisible characters by their numbers."""
    return "\n".join(visible(line) for line in text.replace("\r\n", "\n").split("\n"))
