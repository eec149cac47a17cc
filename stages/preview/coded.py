"""How each stage encodes a record of each of its data fields: by the stage's own functions, never by a copy of them.

A stage that encodes in a way of its own has a line in `READINGS`; any other data field is read by the kind of its
records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.distill import rows as distill
from stages.dpo import data as dpo
from stages.formats.load import Side
from stages.formats.records import Comparison, Instruction, Prompt, Text
from stages.modeling.chat import Chat, Encoded
from stages.rm import data as rm
from stages.rm.losses import loss_of
from stages.sft import data as sft

NO_ORDER = "without an order to learn from"
TOO_LONG = "longer than"  # the limit's name follows


@dataclass(frozen=True)
class Span:
    """One run of ids that the model reads: a conversation, a prompt or an answer.

    `mask` has a 1 where a token counts in the loss; the ids from `kept` on are what truncation removes.
    """

    label: str
    ids: list[int]
    mask: list[int]
    kept: int

    def first(self, count: int) -> Span:
        """Its first tokens."""
        return Span(self.label, self.ids[:count], self.mask[:count], min(self.kept, count))


@dataclass(frozen=True)
class Coded:
    """A record as the stage encodes it. `left_out` says why the stage does not use it; empty where it does."""

    spans: tuple[Span, ...]
    length: int  # tokens, as the stage holds it against its limit
    left_out: str = ""
    notes: tuple[str, ...] = ()
    num_pairs: int = 0  # of a better and a worse answer, that the loss reads
    num_pairs_left_out: int = 0  # for their length

    @property
    def num_counted(self) -> int:
        """Tokens that count in the loss, truncation done."""
        return sum(sum(span.mask[: span.kept]) for span in self.spans)

    @property
    def num_lost(self) -> tuple[int, int]:
        """Tokens that truncation removes, and how many of them would have counted."""
        gone = [span.mask[span.kept :] for span in self.spans]
        return sum(map(len, gone)), sum(map(sum, gone))


def _no_limit(config: Any) -> None:
    return None


@dataclass(frozen=True)
class Reading:
    """How a stage reads one of its data fields."""

    encode: Callable[[Any, Chat, Any], Coded]  # config, chat, record
    limit: Callable[[Any], int | None] = _no_limit  # tokens a row
    limit_name: str = ""
    side: Side = "train"
    cuts: bool = False  # a row over the limit is cut; otherwise it is left out


def reading_of(kind: str, field: str, records: str) -> Reading:
    """How a stage of that kind reads that field."""
    return READINGS.get((kind, field)) or BY_RECORDS[records]


def _span(label: str, ids: list[int], counts: int) -> Span:
    return Span(label, ids, [counts] * len(ids), len(ids))


def _mask(row: Encoded) -> list[int]:
    trained = set(row.trained)
    return [int(place in trained) for place in range(len(row.input_ids))]


def _sft(config: Any, chat: Chat, record: Instruction | Text) -> Coded:
    lesson = sft.prepare(chat, record, config)
    if lesson.is_text:
        return _text(len(lesson.whole.input_ids), lesson.rows)
    span = Span("conversation", lesson.whole.input_ids, _mask(lesson.whole), len(lesson.rows[0].input_ids))
    return Coded((span,), len(lesson.whole.input_ids))


def _text(num_tokens: int, rows: Sequence[Encoded]) -> Coded:
    """A row is a sequence of its own; each but the first begins with the last token of the one before."""
    labels = ["text"] if len(rows) == 1 else [f"text, {i} of {len(rows)}" for i in range(1, len(rows) + 1)]
    spans = [
        Span(label, row.input_ids, _mask(row), len(row.input_ids)) for label, row in zip(labels, rows, strict=True)
    ]
    notes = (f"a text of {num_tokens:,} tokens in {len(rows)} rows",) if len(rows) > 1 else ()
    return Coded(tuple(spans), max(len(row.input_ids) for row in rows), notes=notes)


def _rm(config: Any, chat: Chat, record: Comparison) -> Coded:
    item = rm.encode(record, chat)
    read = loss_of(config).reads(item)
    coded = _ranked(config, record, read)
    if fewer := len(item.rankings) - len(read.rankings):
        note = f"{fewer} of {len(item.rankings)} rankings left out: this loss reads none with a tie"
        coded = replace(coded, notes=(*coded.notes, note))
    return coded


def _rm_judged(config: Any, chat: Chat, record: Comparison) -> Coded:
    """On the held-out side every ranking is read, whatever the loss."""
    return _ranked(config, record, rm.encode(record, chat))


def _ranked(config: Any, record: Comparison, item: rm.Ranked) -> Coded:
    why = NO_ORDER if not item.is_useful else f"{TOO_LONG} max_length" if item.longest > config.max_length else ""
    spans = [_span("prompt", item.prompt, 0)]
    for label, place in _by_rank(record):
        ids = item.completions[place]
        spans.append(Span(label, ids, [0] * (len(ids) - 1) + [int(not why)], len(ids)))
    pairs = f"{_some(len(item.pairs), 'pair')} of a better and a worse completion"
    ties = f", {_some(len(item.ties), 'tied pair')}" if item.ties else ""
    notes = ("the score is read at the last token of each completion", pairs + ties)
    return Coded(tuple(spans), item.longest, why, notes, 0 if why else len(item.pairs))


def _dpo(config: Any, chat: Chat, record: Comparison) -> Coded:
    """All tokens of a pair's two completions count."""
    places = dpo.chosen_pairs(record, config.pairs_per_prompt)
    pairs = {place: dpo.encode(chat, record, *place) for place in places}
    used = [place for place in places if pairs[place].longest <= config.max_length]
    encoded = {
        p: ids for place, pair in pairs.items() for p, ids in zip(place, (pair.chosen, pair.rejected), strict=True)
    }
    prompt = next(iter(pairs.values())).prompt if pairs else chat.prompt_ids(record.prompt)
    counted = {p for place in used for p in place}
    spans = [_span("prompt", prompt, 0)]
    for label, place in _by_rank(record):
        ids = encoded.get(place) or chat.completion_ids(record.prompt, record.completions[place])
        spans.append(_span(label if place in counted else f"{label}, in no pair", ids, int(place in counted)))
    why = NO_ORDER if not pairs else "" if used else f"{TOO_LONG} max_length"
    told = ", ".join(f"{winner + 1} over {loser + 1}" for winner, loser in used)
    notes = [_some(len(used), "pair") + (f": completion {told}" if told else "")]
    if dropped := len(places) - len(used):
        notes.append(f"{_some(dropped, 'pair')} left out: longer than max_length {config.max_length}")
    longest = max((pair.longest for pair in pairs.values()), default=sum(len(span.ids) for span in spans[:2]))
    return Coded(tuple(spans), longest, why, tuple(notes), len(used), dropped)


def _ppo(config: Any, chat: Chat, record: Prompt) -> Coded:
    ids = chat.prompt_ids(record.prompt)
    why = f"{TOO_LONG} max_prompt_length" if len(ids) > config.max_prompt_length else ""
    note = f"the policy writes on from here, at most {config.max_new_tokens} tokens"
    return Coded((_span("prompt", ids, 0),), len(ids), why, (note,))


def _remembered(config: Any, chat: Chat, record: Instruction) -> Coded:
    coded = _instruction(config, chat, record)
    why = f"{TOO_LONG} max_prompt_length + max_new_tokens" if coded.length > _ptx_limit(config) else ""
    return Coded(coded.spans, coded.length, why)


def _ptx_limit(config: Any) -> int:
    return int(config.max_prompt_length + config.max_new_tokens)


def _learnt(config: Any, chat: Chat, record: Instruction | Text) -> Coded:
    if isinstance(record, Text):
        row = chat.encode_text(record.full_text)
        return _text(len(row.input_ids), [row])
    return _instruction(config, chat, record)


def _instruction(config: Any, chat: Chat, record: Instruction) -> Coded:
    row = chat.encode(record.messages, record.tools)
    return Coded((Span("conversation", row.input_ids, _mask(row), len(row.input_ids)),), len(row.input_ids))


def _comparison(config: Any, chat: Chat, record: Comparison) -> Coded:
    prompt = _span("prompt", chat.prompt_ids(record.prompt), 0)
    spans = [
        _span(label, chat.completion_ids(record.prompt, record.completions[place]), 1)
        for label, place in _by_rank(record)
    ]
    return Coded((prompt, *spans), len(prompt.ids) + max(len(span.ids) for span in spans))


def _prompt(config: Any, chat: Chat, record: Prompt) -> Coded:
    ids = chat.prompt_ids(record.prompt)
    longest = getattr(config, "max_new_tokens", None)
    notes = (f"the model writes on from here, at most {longest} tokens",) if longest else ()
    return Coded((_span("prompt", ids, 0),), len(ids), notes=notes)


def _distill(config: Any, chat: Chat, record: Prompt) -> Coded:
    """As the teacher reads it; its row has the prompt without `system`."""
    return _prompt(config, chat, distill.told(record, config.system))


def _by_rank(record: Comparison) -> list[tuple[str, int]]:
    """A label and the position of each completion, best first by the mean of its ranks; unranked ones last."""
    by_completion = list(zip(*(ranking.ranks for ranking in record.rankings), strict=True))
    given = [[rank for rank in ranks if rank is not None] for ranks in by_completion]
    order = sorted(range(len(given)), key=lambda i: (sum(given[i]) / len(given[i]) if given[i] else float("inf"), i))
    return [(f"completion {i + 1}, {_ranks(by_completion[i])}", i) for i in order]


def _ranks(ranks: tuple[int | None, ...]) -> str:
    if all(rank is None for rank in ranks):
        return "not ranked"
    told = ", ".join("none" if rank is None else str(rank) for rank in ranks)
    return f"ranks {told}" if len(ranks) > 1 else f"rank {told}"


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


_PROMPTS = Reading(_ppo, lambda config: int(config.max_prompt_length), "max_prompt_length")
_REMEMBERED = Reading(_remembered, _ptx_limit, "max_prompt_length + max_new_tokens")
_RM = Reading(_rm, lambda config: int(config.max_length), "max_length")
READINGS = {
    ("sft", "data"): Reading(_sft, lambda config: int(config.max_length), "max_length", cuts=True),
    ("rm", "data"): _RM,
    ("rm", "eval_data"): Reading(_rm_judged, _RM.limit, "max_length", side="heldout"),
    ("dpo", "data"): Reading(_dpo, lambda config: int(config.max_length), "max_length"),
    **{(kind, "data"): _PROMPTS for kind in ("ppo", "rloo", "grpo")},
    **{(kind, "ptx_data"): _REMEMBERED for kind in ("ppo", "rloo", "grpo")},
    ("distill", "data"): Reading(_distill, side="all"),
    ("sample", "data"): Reading(_prompt, side="all"),
    ("evaluate", "data"): Reading(_prompt, side="heldout"),
}
BY_RECORDS = {
    "instruction": Reading(_instruction),
    "instruction or text": Reading(_learnt),
    "comparison": Reading(_comparison),
    "prompt": Reading(_prompt),
}
