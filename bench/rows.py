"""What the benches train on: rows of a file as ids and as messages, the same for every contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.modeling.chat import Chat


@dataclass(frozen=True)
class Row:
    """A prompt with its answer (sft), or with the best and the worst of its answers (rm, dpo)."""

    prompt: list[int]
    answers: list[list[int]]
    messages: list[dict[str, Any]]  # the prompt's
    texts: list[str]  # the answers

    @property
    def num_tokens(self) -> int:
        """Of the data: the prompt counts with each answer."""
        return len(self.answers) * len(self.prompt) + self.num_predicted

    @property
    def num_computed(self) -> int:
        """What a forward must read: the prompt counts once."""
        return len(self.prompt) + self.num_predicted

    @property
    def num_predicted(self) -> int:
        return sum(map(len, self.answers))

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.answers))


def read(workload: str, data: str, chat: Chat, *, count: int, stretch: int, max_length: int) -> list[Row]:
    """The first `count` rows that fit into `max_length`, every text of them written `stretch` times over."""
    from pipeline.contract import DataSource, Source
    from stages.formats.load import load

    kind: Any = "instruction" if workload == "sft" else "comparison"
    source = Source("data", DataSource(path=data, split="all", on_bad_row="skip"))
    rows = (_row(record, chat, stretch) for record in load(source, kind, "train").records)
    fitting = list(islice((row for row in rows if row.longest <= max_length), count))
    if len(fitting) < count:
        raise SystemExit(f"error: {data} holds {len(fitting)} rows of at most {max_length} tokens, fewer than --rows")
    return fitting


def _row(record: Any, chat: Chat, stretch: int) -> Row:
    if record.kind == "instruction":
        messages, texts = record.messages[:-1], [record.messages[-1]["content"]]
    else:
        messages, texts = record.prompt, _best_and_worst(record.completions, record.rankings[0].ranks)
    messages = [{**message, "content": _stretched(message["content"], stretch)} for message in messages]
    texts = [_stretched(text, stretch) for text in texts]
    return Row(chat.prompt_ids(messages), [chat.completion_ids(messages, text) for text in texts], messages, texts)


def _stretched(text: str, stretch: int) -> str:
    return " ".join([text] * stretch)


def _best_and_worst(texts: Sequence[str], ranks: Sequence[int | None]) -> list[str]:
    known = [rank if rank is not None else 99 for rank in ranks]
    return [texts[known.index(min(known))], texts[known.index(max(known))]]
