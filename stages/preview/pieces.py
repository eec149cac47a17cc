"""Token ids -> the text of each, and text -> what can be shown of it safely.

A character may take several tokens; they are shown together. Nothing that a terminal or a browser would act on, or
leave invisible, gets through: it is shown by its number, between marks that no text can hold.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.modeling.chat import Chat
from stages.preview.coded import Span

BEGIN, END, BETWEEN = "⟦", "⟧", "¦"  # around what counts in the loss, between tokens
NEWLINE, TAB = "↵", "⇥"
OPEN, CLOSE = "⟨", "⟩"  # around a tag
OURS = frozenset((BEGIN, END, BETWEEN, NEWLINE, TAB, OPEN, CLOSE))
# Control, format (bidi marks, zero-width), surrogate, private, unassigned; line and paragraph separators.
HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Invisible, and letters or marks by category: fillers, variation selectors (they can smuggle text), braille's blank.
HIDDEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
MOST_TOKENS = 16  # of one character shown together; a real U+FFFD never completes
BEFORE = 4  # tokens that a decoder may look back at, to tell whether a space stands before the next


@dataclass(frozen=True)
class Piece:
    """One token, or the few of one character: its text as it is, whether it counts, whether truncation removes it."""

    text: str
    ids: tuple[int, ...]
    counts: bool
    cut: bool
    is_special: bool


def pieces(chat: Chat, span: Span) -> list[Piece]:
    """The span's tokens with their text."""
    special = _special_ids(chat.tokenizer)
    found: list[Piece] = []
    start, count = 0, len(span.ids)
    for stop in range(1, count + 1):
        must_end = (
            stop == count
            or stop == span.kept
            or span.mask[stop] != span.mask[stop - 1]
            or span.ids[stop] in special
            or stop - start == MOST_TOKENS
        )
        text = _text(chat.tokenizer, span.ids, start, stop)
        if text.endswith("\ufffd") and not must_end:
            continue
        ids = tuple(span.ids[start:stop])
        found.append(Piece(text, ids, bool(span.mask[start]), start >= span.kept, ids[0] in special))
        start = stop
    return found


def tagged(text: str) -> list[tuple[str, bool]]:
    """The text in parts, with True for a part that is the tag of one hidden character, such as `⟨U+202E⟩`.

    A line's end is `↵` and a newline; a tab is `⇥`.
    """
    parts: list[tuple[str, bool]] = []
    plain = ""
    for character in text:
        tag = _tag(character)
        if tag is None:
            plain += character
            continue
        if plain:
            parts.append((plain, False))
            plain = ""
        parts.append((tag, True))
    return [*parts, (plain, False)] if plain else parts


def visible(text: str) -> str:
    """One line of text from outside, safe to show."""
    return "".join(part for part, _ in tagged(text)).replace("\n", "")


def _tag(character: str) -> str | None:
    if character == "\n":
        return f"{NEWLINE}\n"
    if character == "\t":
        return TAB
    if " " <= character <= "~":
        return None
    category = unicodedata.category(character)
    if category in HIDDEN_CATEGORIES or category == "Zs" or character in OURS or HIDDEN.match(character):
        return f"{OPEN}U+{ord(character):04X}{CLOSE}"
    return None


def _text(tokenizer: Any, ids: Sequence[int], start: int, stop: int) -> str:
    """What these tokens add to the text: some decoders drop the space of a first token, so it is not given alone."""
    before = _decoded(tokenizer, ids[max(0, start - BEFORE) : start])
    if before.endswith("\ufffd"):  # half a character: what follows would complete it
        return _decoded(tokenizer, ids[start:stop])
    return _decoded(tokenizer, ids[max(0, start - BEFORE) : stop])[len(before) :]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))
