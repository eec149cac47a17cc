"""How conversations begin: the system turn that a model learnt to answer under."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from pipeline.contract import Source
from pipeline.errors import PosttuneError
from stages.formats.load import iter_records
from stages.formats.records import Prompt

LOOKED_AT = 200  # rows of each source


def common_system(sources: Sequence[Source]) -> str | None:
    """What the first rows of all sources have as their system turn; None where one has another, or none can be read."""
    found = {text for source in sources for text in _systems(source)}
    return next(iter(found)) if len(found) == 1 else None


def _systems(source: Source) -> set[str | None]:
    try:
        prompts = list(islice(iter_records(source, "prompt", "train"), LOOKED_AT))
    except PosttuneError:  # rows of another kind, or gone since: nothing is known of them
        return {None}
    return {_system(record) for record in prompts if isinstance(record, Prompt)}


def _system(prompt: Prompt) -> str | None:
    first = prompt.prompt[0]
    content = first["content"] if first["role"] == "system" else None
    return content if isinstance(content, str) else None
