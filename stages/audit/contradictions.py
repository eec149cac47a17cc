"""Rows that cannot all be right: one prompt with two answers where there is one, an order and its reverse, a ring.

An answer is determinate where it is a label, a JSON value with labels in it, or ends with one number alone. Two
free answers to one prompt are no contradiction, and are only noted. Rankings contradict each other only where one
annotator gave both; of two annotators it is disagreement, which agreement figures are for.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.contract import TaskConfig
from stages.audit.ledger import Add
from stages.audit.rows import Row, folded, key
from stages.audit.seen import SIDES, Check, Seen
from stages.evaluate.checks.labels import label_in
from stages.formats.records import Comparison, Instruction
from stages.formats.rules import UNNAMED

LABEL = re.compile(r"[\w/&+:' -]{1,60}")
MAX_WORDS = 5
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MAX_ANSWERS = 50  # different ones of one prompt; a further row is held against these
MIN_TURNED = 5  # pairs; two people turn so many round by chance less than once in twenty times
MAX_EDGES = 5000  # of one prompt; rings are not sought among more

Given = tuple[int, tuple[int, ...], tuple[int | None, ...]]  # a row, its answers as hashes, their ranks


class Contradictions(Check):
    """Answers, preferences and rings, prompt by prompt."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._groups: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        self._left: dict[int, int] = {}

    def again(self) -> Collection[int]:
        """The rows of prompts that rows of unequal content share."""
        audited = np.flatnonzero((self.seen.sides != SIDES.index("against")) & (self.seen.prompts != 0))
        audited = audited[~np.isin(audited, list(self.seen.copies()))]
        prompts, which, counts = np.unique(self.seen.prompts[audited], return_inverse=True, return_counts=True)
        self._left = {int(prompt): int(count) for prompt, count in zip(prompts, counts, strict=True) if count > 1}
        self._wanted = set(audited[counts[which] > 1].tolist())
        return self._wanted

    def look(self, row: Row, add: Add) -> None:
        if row.index not in self._wanted:
            return
        prompt = row.prompt_key
        self._groups[prompt].append((row.index, _claim(row)))
        self._left[prompt] -= 1
        if not self._left[prompt]:
            rows = self._groups.pop(prompt)
            self._answers([(index, claim) for index, claim in rows if not isinstance(claim, list)], add)
            self._orders([(index, claim) for index, claim in rows if isinstance(claim, list)], add)

    def _answers(self, rows: list[tuple[int, Any]], add: Add) -> None:
        different: dict[int, tuple[int, Any]] = {}  # the first rows with each answer
        for index, answer in rows:
            told = ((other, _conflict(before, answer)) for other, before in different.values())
            found = next(((other, message) for other, message in told if message), None)
            if found:
                add(
                    self.seen.finding(
                        "warning", "contradiction", index, [found[0]], f"the same prompt is answered {found[1]}"
                    )
                )
            elif different and answer[0] not in different:
                first = next(iter(different.values()))[0]
                add(self.seen.finding("note", "other_answer", index, [first], "the same prompt has another answer"))
            if len(different) < MAX_ANSWERS:
                different.setdefault(answer[0], (index, answer))

    def _orders(self, rows: list[tuple[int, Any]], add: Add) -> None:
        by_annotator: dict[str, list[Given]] = defaultdict(list)
        for index, rankings in rows:
            for annotator, answers, ranks in rankings:
                by_annotator[annotator].append((index, answers, ranks))
        for annotator, given in by_annotator.items():
            if len({index for index, _, _ in given}) > 1:
                self._one_annotators(annotator, given, add)
        if len(by_annotator) > 1:
            self._opposites(by_annotator, add)

    def _opposites(self, by_annotator: Mapping[str, Sequence[Given]], add: Add) -> None:
        """A whole order turned round, which two people hardly give: one may have read the scale upside down."""
        orders: dict[frozenset[tuple[int, int]], tuple[int, str]] = {}
        told = sorted(
            (index, annotator, answers, ranks)
            for annotator, given in by_annotator.items()
            for index, answers, ranks in given
        )
        for index, annotator, answers, ranks in told:
            edges = frozenset(_edges(answers, ranks))
            other = orders.get(frozenset((worse, good) for good, worse in edges))
            if other and other[0] != index and other[1] != annotator and len(edges) >= MIN_TURNED:
                message = f"is the exact reverse of the order that {other[1]!r} gave the same answers"
                add(self.seen.finding("warning", "opposite_ranking", index, [other[0]], message))
            orders.setdefault(edges, (index, annotator))

    def _one_annotators(self, annotator: str, given: Sequence[Given], add: Add) -> None:
        """Each row against the rows before it: pairs turned round, else a way round a ring."""
        who = "the same annotator" if annotator != UNNAMED else "an annotator whom the rows do not name"
        better: dict[int, dict[int, int]] = defaultdict(dict)  # answer -> worse answer -> the first row that says so
        num_edges = 0
        for index, answers, ranks in given:
            edges = list(_edges(answers, ranks))
            turned = [better[worse][good] for good, worse in edges if better.get(worse, {}).get(good, index) != index]
            if turned:
                message = f"{who} prefers the other answer in {len(turned)} of {len(edges)} pairs in an earlier row"
                add(self.seen.finding("warning", "contradiction", index, [turned[0]], message))
                continue  # one of the two is wrong; its pairs would close rings that are only this reversal
            if num_edges < MAX_EDGES and (ring := next((r for g, w in edges if (r := _way(better, w, g))), None)):
                message = f"closes a ring of preferences of {who}, over {len(ring) + 1} answers"
                add(
                    self.seen.finding(
                        "warning", "preference_cycle", index, [i for i in dict.fromkeys(ring) if i != index], message
                    )
                )
                continue
            num_edges += len(edges)
            for good, worse in edges:
                better[good].setdefault(worse, index)


def _claim(row: Row) -> Any:
    """What a row says of its prompt: rankings of hashed answers, or a hashed answer and what is determinate in it."""
    if isinstance(row.record, Comparison):
        answers = tuple(key(folded(text)) for text in row.record.completions)
        return [(ranking.annotator, answers, ranking.ranks) for ranking in row.record.rankings]
    text = row.answers[0][1] if row.answers else ""
    if isinstance(row.record, Instruction) and not row.record.messages[-1].get("tool_calls"):
        return key(folded(text)), determinate(text, row.source.task)
    return key(folded(text)), None


def determinate(answer: str, task: TaskConfig) -> Mapping[str, Any] | None:
    """What can be right or wrong in an answer, by name; None where it is free text."""
    text = answer.strip()
    if task.label_set is not None:
        return {"the label": label_in(text, task.label_set) or folded(text)}
    if text[:1] in ("{", '"') and (value := _json(text)) is not None:
        if not isinstance(value, dict):
            return {"its value": value}
        names = task.labels or {name for name, held in value.items() if _is_label(held)}
        return {f"'{name}'": value[name] for name in names if name in value} or None
    if _is_label(text):
        return {"the label": folded(text)}
    last = text.rsplit("\n", 1)[-1]
    numbers = NUMBER.findall(last)
    if "\n" in text and len(numbers) == 1 and len(last.split()) <= MAX_WORDS:
        return {"the last number": float(numbers[0].replace(",", ""))}
    return None


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return bool(LABEL.fullmatch(value)) and len(value.split()) <= MAX_WORDS
    return value is None or isinstance(value, (bool, int, float))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _conflict(before: tuple[int, Mapping[str, Any] | None], now: tuple[int, Mapping[str, Any] | None]) -> str:
    if before[1] is None or now[1] is None:
        return ""
    for name in before[1].keys() & now[1].keys():
        if before[1][name] != now[1][name]:
            return (
                f"otherwise in an earlier row: {name} is {_short(before[1][name])} there, {_short(now[1][name])} here"
            )
    return ""


def _short(value: Any) -> str:
    return repr(value)[:60]


def _edges(answers: tuple[int, ...], ranks: tuple[int | None, ...]) -> Iterator[tuple[int, int]]:
    """Every better and worse answer of one ranking."""
    for good, first in zip(answers, ranks, strict=True):
        for worse, second in zip(answers, ranks, strict=True):
            if first is not None and second is not None and first < second and good != worse:
                yield good, worse


def _way(better: Mapping[int, Mapping[int, int]], start: int, goal: int) -> list[int]:
    """The rows along a shortest chain of preferences from `start` down to `goal`; empty where there is none."""
    came: dict[int, tuple[int, int]] = {}
    line = deque([start])
    while line:
        at = line.popleft()
        for worse, row in better.get(at, {}).items():
            if worse not in came and worse != start:
                came[worse] = (at, row)
                line.append(worse)
        if goal in came:
            rows = []
            while goal != start:
                goal, row = came[goal]
                rows.append(row)
            return rows[::-1]
    return []
