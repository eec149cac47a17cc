"""What a running stage shows: a progress bar with rate and time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 15.0  # between two plain progress lines


class Terminal:
    """Says lines and shows progress on one stream."""

    def __init__(self, stream: TextIO, stage: str = "") -> None:
        self._console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._stage = stage

    def say(self, text: str) -> None:
        """One line for the reader; model text in it is shown as it is, never as markup."""
        prefix = f"[{self._stage}] " if self._stage else ""
        self._console.print(f"{prefix}{text}")

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yields a function to call with the number of steps done since the last call."""
        if not self._console.is_terminal:
            yield self._plain_progress(description, total)
            return
        columns = (
            TextColumn("[{task.fields[stage]}] {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(description, total=total, stage=self._stage, rate="")

            def advance(steps: int) -> None:
                bar.advance(task, steps)
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, rate=_rate(speed))

            yield advance

    def _plain_progress(self, description: str, total: int) -> Callable[[int], None]:
        start = last = time.monotonic()
        done = 0

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            now = time.monotonic()
            if now - last < PLAIN_SECONDS:
                return
            last = now
            speed = done / (now - start)
            left = (total - done) / speed if speed else 0.0
            self.say(f"{description} {done}/{total}, {_rate(speed)}, about {left:.0f} s left")

        return advance


def _rate(speed: float | None) -> str:
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
