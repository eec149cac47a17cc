"""What can be wrong between a row and its tokens: each check looks at one record, and says what to do.

What a template drops is found by rendering a conversation with and without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pipeline.errors import ModelError
from stages.formats.records import Comparison, Instruction, Message, Record, Text
from stages.modeling.chat import Chat
from stages.preview.coded import Coded, Span


@dataclass(frozen=True)
class Case:
    """A record, as it came and as it was encoded."""

    chat: Chat
    messages: Sequence[Message]  # a whole conversation, or a prompt
    tools: list[Any] | None
    is_open: bool  # the assistant speaks next
    answers: Sequence[str]  # completions that follow a prompt, in the order of their spans
    coded: Coded
    plain: str | None = None  # what is learnt of a text, which has no messages

    def rendered(self, messages: Sequence[Message], tools: list[Any] | None = None) -> str | None:
        """What the template makes of these messages; None where it refuses them."""
        try:
            return self.chat.render(messages, tools, open_turn=self.is_open)
        except ModelError:
            return None

    def without(self, changed: Sequence[Message], tools: list[Any] | None) -> bool:
        """Whether the template writes the same of the changed conversation: what was taken out, it drops."""
        return self.rendered(self.messages, self.tools) == self.rendered(changed, tools)

    def text(self, span: Span) -> str:
        """What the ids of a span say."""
        tokenizer = self.chat.tokenizer
        return str(tokenizer.decode(span.ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def said(self) -> Iterator[tuple[str, str, str]]:
        """Role and content of each message and answer, and the text of the span that it should stand in."""
        if self.plain is not None:
            first, *others = self.coded.spans  # each of the others begins with the last token of the one before
            ids = first.ids + [token for span in others for token in span.ids[1:]]
            yield "text", self.plain, self.text(replace(first, ids=ids))
            return
        shown = self.text(self.coded.spans[0])
        yield from ((message["role"], message.get("content") or "", shown) for message in self.messages)
        if self.answers:
            whole = "\0".join(self.text(span) for span in self.coded.spans[1:])
            yield from (("assistant", answer, whole) for answer in self.answers)


@dataclass(frozen=True)
class Check:
    """What a check looks for, what it tells and what to do."""

    finds: Callable[[Case], bool]
    told: str
    remedy: str


def case_of(chat: Chat, record: Record, coded: Coded) -> Case:
    """A record with its encoding, ready to be checked."""
    if isinstance(record, Instruction):
        return Case(chat, record.messages, record.tools, False, (), coded)
    if isinstance(record, Text):
        return Case(chat, (), None, False, (), coded, record.full_text)
    answers = record.completions if isinstance(record, Comparison) else ()
    return Case(chat, record.prompt, None, True, answers, coded)  # type: ignore[union-attr]


def found_in(case: Case) -> list[str]:
    """The names of the checks that find something."""
    return [name for name, check in CHECKS.items() if check.finds(case)]


def _doubled(ids: Sequence[int], token: int | None) -> bool:
    return token is not None and any(one == other == token for one, other in pairwise(ids))


def _begin_is_doubled(case: Case) -> bool:
    return any(_doubled(span.ids, case.chat.tokenizer.bos_token_id) for span in case.coded.spans)


def _end_is_doubled(case: Case) -> bool:
    return any(_doubled(span.ids, token) for span in case.coded.spans for token in case.chat.stop_ids)


def _begin_is_missing(case: Case) -> bool:
    tokenizer = case.chat.tokenizer
    usual = list(tokenizer("a")["input_ids"])
    return usual[0] == tokenizer.bos_token_id != case.coded.spans[0].ids[0]


def _end_is_missing(case: Case) -> bool:
    """A run of tokens that count, within what truncation keeps, has no token that ends a turn; a text has no turns."""
    for span in case.coded.spans if case.plain is None else ():
        for place in range(span.kept):
            is_last = place + 1 == span.kept or not span.mask[place + 1]
            if span.mask[place] and is_last and span.ids[place] not in case.chat.stop_ids:
                return True
    return False


def _mask_is_empty(case: Case) -> bool:
    """Of a conversation: a prompt alone never counts, and an unused comparison says so itself."""
    return not case.is_open and not any(any(span.mask[: span.kept]) for span in case.coded.spans)


def _system_is_dropped(case: Case) -> bool:
    rest = [message for message in case.messages if message["role"] != "system"]
    has_any = len(rest) < len(case.messages)
    return has_any and (case.without(rest, case.tools) or _is_absent(case, "system"))


def _tool_calls_are_dropped(case: Case) -> bool:
    return _key_is_dropped(case, "tool_calls")


def _reasoning_is_dropped(case: Case) -> bool:
    return _key_is_dropped(case, "reasoning_content")


def _tools_are_dropped(case: Case) -> bool:
    return bool(case.tools) and case.without(case.messages, None)


def _tool_turn_is_dropped(case: Case) -> bool:
    return _is_absent(case, "tool")


def _turn_is_dropped(case: Case) -> bool:
    return any(_is_absent(case, role) for role in ("user", "assistant", "text"))


def _key_is_dropped(case: Case, key: str) -> bool:
    """Looked at turn by turn: a template may keep the last turn's and drop those before."""
    for index, message in enumerate(case.messages):
        if message.get(key):
            bare = {name: value for name, value in message.items() if name != key}
            if case.without([*case.messages[:index], bare, *case.messages[index + 1 :]], case.tools):
                return True
    return False


def _is_absent(case: Case, role: str) -> bool:
    """Some text of that role does not stand in the tokens, white space aside."""
    return any(who == role and _squeezed(said) not in _squeezed(shown) for who, said, shown in case.said())


def _space_is_lost(case: Case) -> bool:
    """A text stands in the tokens only if white space is left out of the comparison."""
    return any(
        said not in shown and bool(_squeezed(said)) and _squeezed(said) in _squeezed(shown)
        for _, said, shown in case.said()
    )


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _earlier_turns_change(case: Case) -> bool:
    """What the template wrote up to the end of an answer is not how it begins a longer conversation."""
    whole = case.rendered(case.messages, case.tools)
    end = str(case.chat.tokenizer.convert_ids_to_tokens(case.chat.end_of_turn))
    for index, message in enumerate(case.messages[:-1]):
        if message["role"] == "assistant" and whole is not None:
            try:
                closed = case.chat.render(case.messages[: index + 1], case.tools)
            except ModelError:
                continue
            if not whole.startswith(closed[: closed.rfind(end) + len(end)]):
                return True
    return False


def _control_tokens_are_spelt(case: Case) -> bool:
    special = {token.content for token in case.chat.tokenizer.added_tokens_decoder.values() if token.special}
    return any(token in said for _, said, _ in case.said() for token in special if token.strip())


def _characters_are_unknown(case: Case) -> bool:
    unknown = case.chat.tokenizer.unk_token_id
    ids = [token for span in case.coded.spans for token in span.ids]
    if case.plain is not None and ids[-1] == case.chat.end_of_text:  # for SmolLM2 both are one token
        ids.pop()
    return unknown is not None and unknown in ids


CHECKS: Mapping[str, Check] = {
    "begin doubled": Check(
        _begin_is_doubled,
        "the begin token stands twice in a row",
        "let either the template or the text write it, not both: take bos_token out of one",
    ),
    "begin missing": Check(
        _begin_is_missing,
        "the tokenizer begins every text with a begin token, and the template writes none",
        "begin the template with {{ bos_token }}",
    ),
    "end doubled": Check(
        _end_is_doubled,
        "an end token stands twice in a row",
        "take the end token out of the data, or one of the two out of the template",
    ),
    "end missing": Check(
        _end_is_missing,
        "an answer is cut off before its end token, so it teaches the model not to stop there",
        "raise max_length, or shorten or leave out these rows",
    ),
    "mask empty": Check(
        _mask_is_empty,
        "no token counts in the loss after truncation; training refuses such rows",
        "raise max_length, or shorten or leave out these rows",
    ),
    "system dropped": Check(
        _system_is_dropped,
        "the template drops the system message",
        "put it into the first user turn, or use a template that writes it",
    ),
    "tools dropped": Check(
        _tools_are_dropped,
        "the template drops the descriptions of the tools",
        "use a template that writes `tools`, or put them into the system message",
    ),
    "tool calls dropped": Check(
        _tool_calls_are_dropped,
        "the template drops tool calls, so an empty answer is learnt in their place",
        "use a template that writes tool_calls, or write the calls as text",
    ),
    "tool turn dropped": Check(
        _tool_turn_is_dropped,
        "the template drops or rewrites what a tool answered",
        "use a template that writes tool turns, or give them as user turns",
    ),
    "reasoning dropped": Check(
        _reasoning_is_dropped,
        "the template drops the reasoning of an answer",
        "use a template that writes reasoning_content, or put the reasoning into the content",
    ),
    "turn dropped": Check(
        _turn_is_dropped,
        "a turn or a text does not stand in the tokens as it was written",
        "look at the row: the template or the tokenizer leaves out or rewrites characters",
    ),
    "earlier turns change": Check(
        _earlier_turns_change,
        "the template writes earlier turns otherwise once the conversation goes on: the model learns from other text "
        "than it wrote",
        "use a template that only appends, for training",
    ),
    "white space lost": Check(
        _space_is_lost,
        "white space of the data is lost on the way to the tokens",
        "if it matters (code, layouts), use a template that does not trim; else trim the data to match",
    ),
    "control tokens spelt": Check(
        _control_tokens_are_spelt,
        "the data spells the tokenizer's special tokens, which become real ones: a text could open or end a turn",
        "take them out of the data",
    ),
    "characters unknown": Check(
        _characters_are_unknown,
        "some characters are unknown to the tokenizer, and all become the same token",
        "replace them in the data, or use a tokenizer that knows bytes",
    ),
}
