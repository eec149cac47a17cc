"""What the teacher reads, what it answered, and the file that later stages read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.contract import ROWS, Context
from stages.distill.config import Config
from stages.formats.records import Prompt, under_system
from stages.rollout.generate import Completion


@dataclass(frozen=True)
class Taught:
    """One prompt, as the student will read it, with what the teacher answered."""

    prompt: Prompt
    drawn: list[Completion]  # everything that was sampled for it
    texts: list[str]  # its different answers that ended and are not empty
    kept: list[str]  # those that become rows


def told(prompt: Prompt, system: str) -> Prompt:
    """What the teacher reads, asked as `evaluate` asks with a system prompt."""
    return replace(prompt, prompt=tuple(under_system(prompt.prompt, system)))


def write(context: Context, taught: Sequence[Taught]) -> None:
    """A line an answer, in the order of the prompts."""
    with (context.output / ROWS[Config.produces]).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for item in taught for row in _rows(item))


def _rows(item: Taught) -> Iterator[dict[str, object]]:
    """The prompt as its source has it: so its rows are on the side of the split where its questions are."""
    prompt = item.prompt
    known = {} if prompt.documents is None else {"documents": prompt.documents}
    for number, text in enumerate(item.kept, start=1):
        name = prompt.id if len(item.kept) == 1 else f"{prompt.id}:{number}"
        yield {"id": name, "messages": [*prompt.prompt, {"role": "assistant", "content": text}], **known}
