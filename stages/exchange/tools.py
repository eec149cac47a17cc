"""The annotation tools by name. A new tool is one module and one line here.

A tool's module can write a batch for its tool (`export`), read what comes back (`matches`, `read`), or both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from stages.annotation.batch import Batch
from stages.annotation.schema import Answer


@dataclass(frozen=True)
class ExportOptions:
    """What the command line says of an export."""

    annotators: Sequence[str] = ()  # left out: all that the batch names
    exclude_done: frozenset[tuple[str, str]] = frozenset()  # (annotator, task id) that need no answer any more
    allow_truncated: bool = False  # a text longer than the tool can hold is cut, with a note


@dataclass(frozen=True)
class ReadOptions:
    """What the command line says of a file that came back."""

    columns: Mapping[str, str] = field(default_factory=dict)  # our field -> the file's column (any CSV)
    users: Mapping[str, str] = field(default_factory=dict)  # a tool's user id -> the annotator's name
    annotator: str | None = None  # whose file it is, where the file does not say

    def person(self, said: str) -> str:
        """Whom the file means by `said`, which is empty where it does not say; empty where nobody does."""
        name = said or self.annotator or ""
        return self.users.get(name, name)


@dataclass(frozen=True)
class Problem:
    """What could not be taken from a file: where in it, what was found and what to do."""

    where: str
    problem: str
    remedy: str = ""


@dataclass(frozen=True)
class Returned:
    """What a file holds. Every row or task of it is in one of these, so that counts add up."""

    answers: Sequence[Answer]
    problems: Sequence[Problem] = ()  # rows refused, each for its reason
    ignored: Mapping[str, int] = field(default_factory=dict)  # reason -> rows that are no answer (a draft, unlabelled)
    notes: Sequence[str] = ()  # to be said to whoever imports


class Tool(Protocol):
    """What a tool's module offers. One that only exports leaves out `matches` and `read`."""

    @property
    def NAME(self) -> str: ...

    def matches(self, path: Path, head: Any) -> bool:
        """Whether this file is one of the tool's; `head` is its content if it is JSON, else its first line."""

    def read(self, path: Path, batch: Batch, options: ReadOptions) -> Returned:
        """The answers in the file; DataError where the file as a whole cannot be used."""


Export = Callable[[Batch, Path, ExportOptions], Sequence[Path]]

EXPORTS: Mapping[str, str] = MappingProxyType(  # name -> dotted path (`module:name`) of its export
    {
        "html": "stages.exchange.html:export",
        "xlsx": "stages.exchange.xlsx:export",
        "csv": "stages.exchange.sheet_csv:export",
        "label-studio": "stages.exchange.label_studio:export",
        "argilla": "stages.exchange.argilla:export",
        "potato": "stages.exchange.potato:export",
        "prodigy": "stages.exchange.prodigy:export",
    }
)
READERS: Mapping[str, str] = MappingProxyType(  # name -> dotted path of its module
    {
        "html": "stages.exchange.html",
        "xlsx": "stages.exchange.xlsx",
        "csv": "stages.exchange.sheet_csv",
        "mapped": "stages.exchange.mapped",
        "label-studio": "stages.exchange.label_studio",
        "argilla": "stages.exchange.argilla",
        "potato": "stages.exchange.potato",
        "prodigy": "stages.exchange.prodigy",
    }
)
