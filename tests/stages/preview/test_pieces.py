"""Tokens with their text, and text made safe to show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.modeling.chat import Chat
from stages.preview.coded import Span
from stages.preview.pieces import pieces, tagged, visible

TEXTS = [
    "plain words",
    " leading, trailing ",
    "日本語 and é",
    "👩\u200d👩\u200d👧 x",
    "a\ufffdb",
    "tab\tline\n\n",
    "\u202eevil",
]


def span(chat: Chat, text: str, kept: int | None = None, counts_from: int | None = None) -> Span:
    ids = list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])
    start = len(ids) if counts_from is None else counts_from
    return Span("text", ids, [int(i >= start) for i in range(len(ids))], len(ids) if kept is None else kept)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_hold_every_id_and_together_the_whole_text(chat: Chat, text: str) -> None:
    given_span = span(chat, text)
    found = pieces(chat, given_span)
    assert "".join(piece.text for piece in found) == text
    assert [token for piece in found for token in piece.ids] == given_span.ids


def test_character_of_several_tokens_is_one_piece(chat: Chat) -> None:
    (piece,) = pieces(chat, span(chat, "語"))
    assert (piece.text, len(piece.ids)) == ("語", 3)


def test_piece_ends_where_the_mask_or_truncation_divides_a_character(chat: Chat) -> None:
    whole = pieces(chat, span(chat, "語", kept=1))
    assert [(piece.cut, len(piece.ids)) for piece in whole] == [(False, 1), (True, 2)]
    halves = pieces(chat, span(chat, "語", counts_from=2))
    assert [(piece.counts, len(piece.ids)) for piece in halves] == [(False, 2), (True, 1)]


def test_special_token_is_told_from_text(chat: Chat) -> None:
    found = pieces(chat, span(chat, "<|im_end|>x"))
    assert [(piece.text, piece.is_special) for piece in found] == [("<|im_end|>", True), ("x", False)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "⟨U+001B⟩[31m"),
        ("a\u202eb\u2069", "a⟨U+202E⟩b⟨U+2069⟩"),
        ("\r\x08\x00\x9b", "⟨U+000D⟩⟨U+0008⟩⟨U+0000⟩⟨U+009B⟩"),
        ("a\u200bb\u00a0c\ufe0fd\U000e0041", "a⟨U+200B⟩b⟨U+00A0⟩c⟨U+FE0F⟩d⟨U+E0041⟩"),
        ("⟦x⟧¦⟨U+202E⟩", "⟨U+27E6⟩x⟨U+27E7⟩⟨U+00A6⟩⟨U+27E8⟩U+202E⟨U+27E9⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("é 日本 [U+202E] 👩", "é 日本 [U+202E] 👩"),
    ],
)
def test_hidden_characters_and_our_own_signs_become_tags(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    left = "".join(part for part, _ in tagged(text)).replace("\n", "")
    assert not [c for c in left if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert "\n" not in visible(text)
