"""The canonical records every format becomes. Plain data: no IO, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

# {"role", "content"} and, where the data has them, "tool_calls", "name", "tool_call_id", "reasoning_content".
Message = dict[str, Any]


# Made once: json.dumps would make one for every row.
ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal content gives equal text."""
    return ENCODER.encode(value)


def content_id(value: Any) -> str:
    """The first 12 hex digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def row_id(row: Mapping[str, Any], content: Any) -> str:
    """The row's own "id" or "prompt_id" where it has one, else the id of its content."""
    for key in ("id", "prompt_id"):
        own = row.get(key)
        if (isinstance(own, str) and own.strip()) or (isinstance(own, int) and not isinstance(own, bool)):
            return str(own)
    return content_id(content)


def part_of(row: Mapping[str, Any], index: int, count: int) -> Mapping[str, Any]:
    """What `row_id` reads of one of the `count` records that a row gives: the row's own id, numbered from 1."""
    if count == 1:
        return row
    own = row_id(row, None)
    return {} if own == content_id(None) else {"id": f"{own}:{index + 1}"}


def opening(messages: Sequence[Message]) -> Sequence[Message]:
    """The first user turn and what precedes it."""
    first = next((i for i, message in enumerate(messages) if message["role"] == "user"), len(messages))
    return messages[: first + 1]


def under_system(messages: Sequence[Message], system: str) -> list[Message]:
    """The conversation with `system` above its own system turn, an empty line between them."""
    first, *rest = messages
    if first["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return [{**first, "content": f"{system}\n\n{first['content']}" if first["content"] else system}, *rest]


class _Prompted:
    """What records with a `prompt` share."""

    prompt: tuple[Message, ...]

    @property
    def prompt_key(self) -> str:
        """Equal for equal prompts."""
        return canonical(self.prompt)

    @property
    def split_key(self) -> str:
        """What a split hashes: the opening, so that a prompt lies on the side of the conversation it continues."""
        return canonical(opening(self.prompt))


@dataclass(frozen=True)
class Instruction:
    """A conversation whose last turn is the assistant's. `tools` are function descriptions for the chat template."""

    kind: ClassVar[str] = "instruction"
    id: str
    messages: tuple[Message, ...]
    tools: list[Any] | None = None
    references: tuple[str, ...] = ()  # all answers that are right, where the data gives several; the last turn's is one

    @property
    def reference(self) -> str | list[str]:
        """What an answer to it is compared with: the last turn, or each of several right ones."""
        return list(self.references) if self.references else str(self.messages[-1]["content"])

    @property
    def prompt_key(self) -> str:
        """The opening alone, so that all of a conversation stays on one side."""
        return canonical(opening(self.messages))

    @property
    def split_key(self) -> str:
        """See `prompt_key`."""
        return self.prompt_key


@dataclass(frozen=True)
class Ranking:
    """One annotator's ranks in the order of the completions: dense from 1, 1 = best, ties share, None = not ranked."""

    annotator: str
    ranks: tuple[int | None, ...]
    weight: float = 1.0  # of the annotator's votes among others'; 0: not heard. Read by losses that count votes alone


def ranking_row(ranking: Ranking) -> dict[str, Any]:
    """A ranking as a canonical row holds it."""
    weight = {} if ranking.weight == 1 else {"weight": ranking.weight}
    return {"annotator": ranking.annotator, "ranks": list(ranking.ranks), **weight}


@dataclass(frozen=True)
class Comparison(_Prompted):
    """One prompt, K >= 2 completions and at least one ranking of them."""

    kind: ClassVar[str] = "comparison"
    id: str
    prompt: tuple[Message, ...]
    completions: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    source: Any = None


@dataclass(frozen=True)
class Prompt(_Prompted):
    """Something to answer, with what a program may check the answer against."""

    kind: ClassVar[str] = "prompt"
    id: str
    prompt: tuple[Message, ...]
    reference: Any = None
    documents: Any = None


@dataclass(frozen=True)
class Unpaired(_Prompted):
    """One completion with a thumb up or down (Kahneman-Tversky optimisation, KTO)."""

    kind: ClassVar[str] = "unpaired"
    id: str
    prompt: tuple[Message, ...]
    completion: str
    desirable: bool


@dataclass(frozen=True)
class Text:
    """Plain text for domain adaptation."""

    kind: ClassVar[str] = "text"
    id: str
    text: str

    @property
    def full_text(self) -> str:
        """All that a model is to learn of it."""
        return self.text

    @property
    def prompt_key(self) -> str:
        """The text itself: a text has no prompt."""
        return canonical(self.text)

    @property
    def split_key(self) -> str:
        """See `prompt_key`."""
        return self.prompt_key


@dataclass(frozen=True)
class Document(Text):
    """Text that answers may be found in, for retrieval."""

    kind: ClassVar[str] = "document"
    title: str | None = None

    @property
    def full_text(self) -> str:
        """The title as the first line, an empty line, and the text."""
        return f"{self.title}\n\n{self.text}" if self.title else self.text


Record = Instruction | Comparison | Prompt | Unpaired | Text | Document
