"""Candidates' answers side by side, with the words marked in which each differs from the first candidate's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from markupsafe import Markup, escape

from pipeline.report.text import cell, is_number, items, mapping, shorten, visible

MAX_ROWS = 20
MAX_CHARACTERS = 6_000  # of one text; the whole answer stays in report.json
ONE_LINE = 88  # a reference that fits is kept on one line
MAX_WORDS = 1_500  # the comparison takes time quadratic in the words
ALIKE = 0.35  # below this share of common words the marks would cover everything and say nothing

TOKEN = re.compile(r"\s+|(?:\w+|[^\w\s])\s*")  # a word or a sign with the space after it
SPACE_AROUND_LINES = re.compile(r"(\s*\n\s*|\s+$)")


@dataclass(frozen=True)
class Answer:
    """One candidate's answer, ready to print."""

    candidate: str
    html: Markup
    is_json: bool
    figures: Sequence[tuple[str, str]]  # name and value of each that is known of it
    remark: str = ""


@dataclass(frozen=True)
class SampleRow:
    """One prompt and its answers."""

    prompt: str
    answers: Sequence[Answer]
    reference: str
    reference_is_json: bool
    differs: bool  # some answer is another than the first
    figure: str  # the name of the first, which matters most; empty where there is none
    figure_differs: bool


@dataclass(frozen=True)
class SampleSet:
    """A `samples` fragment."""

    stage: str
    title: str
    note: str
    rows: Sequence[SampleRow]
    num_rows: int  # in the fragment; the page shows the first MAX_ROWS

    @property
    def differ(self) -> bool:
        return any(row.differs for row in self.rows)

    @property
    def differing(self) -> list[str]:
        """The first figures that differ in some row, by name."""
        return sorted({row.figure for row in self.rows if row.figure_differs})


def sample_set(stage: str, fragment: Mapping[str, Any]) -> SampleSet:
    """A `samples` fragment as the page shows it."""
    candidates = [str(name) for name in items(fragment.get("candidates"))]
    rows = [row for row in items(fragment.get("rows")) if isinstance(row, Mapping)]
    shown = [_row(candidates, row) for row in rows[:MAX_ROWS]]
    return SampleSet(stage, str(fragment.get("title", "")), str(fragment.get("note") or ""), shown, len(rows))


def _row(candidates: Sequence[str], row: Mapping[str, Any]) -> SampleRow:
    texts = [pretty(answer) for answer in items(row.get("answers"))]
    figures = _figures(row)
    answers = []
    for place, (text, is_json) in enumerate(texts):
        name = candidates[place] if place < len(candidates) else f"candidate {place + 1}"
        known = [(figure, cell(values[place])) for figure, values in figures.items() if place < len(values)]
        comparable = place > 0 and is_json == texts[0][1]
        html = marked(texts[0][0], text) if comparable else escape(visible(text))
        remark = f"the same as {candidates[0] if candidates else 'the first'}" if place and text == texts[0][0] else ""
        answers.append(Answer(name, html, is_json, known, remark if text.strip() else "an empty answer"))
    given = row.get("reference")
    reference, reference_is_json = pretty(given) if given is not None else ("", False)
    if reference_is_json and len(one_line := " ".join(reference.split())) <= ONE_LINE:
        reference = one_line
    first, values = next(iter(figures.items()), ("", []))
    return SampleRow(
        shorten(str(row.get("prompt", "")), MAX_CHARACTERS),
        answers,
        reference,
        reference_is_json,
        differs=len({text for text, _ in texts}) > 1,
        figure=first,
        figure_differs=len({value for value in values[: len(texts)] if is_number(value)}) > 1,
    )


def _figures(row: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Each figure's values, one an answer; a row with one kind of figure alone calls it `scores`."""
    named = {str(name): items(values) for name, values in mapping(row.get("figures")).items()}
    scores = items(row.get("scores"))
    return {**({"score": scores} if scores else {}), **named}


def pretty(value: Any) -> tuple[str, bool]:
    """A text as it is, or indented where it is a JSON object or array; and whether it is one."""
    if isinstance(value, str):
        if not value.lstrip().startswith(("{", "[")):
            return shorten(value, MAX_CHARACTERS), False
        try:
            value = json.loads(value, object_pairs_hook=_keep_pairs)
        except (ValueError, RecursionError):
            return shorten(value, MAX_CHARACTERS), False
    return shorten(json.dumps(value, indent=2, ensure_ascii=False), MAX_CHARACTERS), isinstance(value, (dict, list))


def _keep_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that repeats a key is shown as it was written, since a dict would hide one of them."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a repeated key")
    return dict(pairs)


def marked(first: str, other: str) -> Markup:
    """`other`, escaped: words put in place of words of `first` in <mark>, words added to it in <ins>."""
    tokens = TOKEN.findall(other)
    before, after = [token.strip() for token in TOKEN.findall(first)], [token.strip() for token in tokens]
    if max(len(before), len(after)) > MAX_WORDS or not _alike(before, after):
        return Markup(escape(visible(other)))
    pieces: list[Markup] = []
    for change, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        text = "".join(tokens[start:end])
        tag = {"replace": "mark", "insert": "ins"}.get(change)
        parts = SPACE_AROUND_LINES.split(text) if tag else [text]  # marks hold words, not line ends and indents
        for part in parts:
            shown = escape(visible(part))
            pieces.append(Markup("<{0}>{1}</{0}>").format(tag, shown) if tag and part.strip() else shown)
    return Markup("").join(pieces)


def _alike(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether two answers share enough words, signs aside: braces and quotes alone do not make them alike."""
    first, other = ([token for token in tokens if token[:1].isalnum()] for tokens in (before, after))
    return SequenceMatcher(None, first, other, autojunk=False).ratio() >= ALIKE
