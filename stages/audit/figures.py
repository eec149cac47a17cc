"""What holds for a source as a whole: whether length decides, which labels there are, what parses, which languages."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from pipeline.contract import Table, TaskConfig
from stages.audit.ledger import Add, Finding
from stages.audit.rows import Row
from stages.audit.seen import Settings, SourceCheck
from stages.evaluate.checks.json_schema import INVALID, is_valid, parse
from stages.evaluate.checks.labels import label_in
from stages.formats.load import best
from stages.formats.records import Comparison, Instruction, Prompt, Unpaired
from stages.objectives.shares import wilson

SAMPLED, SAMPLED_CHARACTERS = 1000, 200  # rows a source, and characters of each, whose language is told
MIN_LETTERS = 20  # in fewer no language is told
RARE = 0.01  # a language told in fewer of the sampled rows is most often a mistake
BIASED = 0.6  # the share of longer answers preferred, at the lower end of its interval, from which length may decide
MAX_LABELS, SHOWN = 500, 12
MIN_LABELLED, FEW = (
    40,
    5,
)  # rows from which on a balance is worth telling; a label in fewer than FEW rows is hardly learnt


class LengthBias(SourceCheck):
    """How often the longer of two answers is preferred. A reward model scores that well without reading."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 6)

    def see(self, row: Row) -> None:
        if not isinstance(row.record, Comparison):
            return
        lengths = [len(text) for text in row.record.completions]
        longer = pairs = 0
        for ranking in row.record.rankings:
            for i, first in enumerate(ranking.ranks):
                for j, second in enumerate(ranking.ranks):
                    if first is not None and second is not None and first < second and lengths[i] != lengths[j]:
                        pairs += 1
                        longer += lengths[i] > lengths[j]
        if pairs:
            for place, value in enumerate((1, longer, pairs, longer**2, longer * pairs, pairs**2)):
                self._sums[row.source.name][place] += value

    def end(self, add: Add) -> list[Table]:
        rows = []
        for source, sums in self._sums.items():
            share, low, high = longer_share(*sums)
            rows.append([source, int(sums[2]), f"{share:.1%} [{low:.1%}, {high:.1%}]"])
            if low > BIASED:
                message = (
                    f"the longer answer is preferred in {share:.0%} of {int(sums[2])} pairs: length predicts the ranks"
                )
                add(Finding("warning", "length_bias", source, message))
        note = "Characters; 95% Wilson intervals at the number of pairs that rows with several pairs are worth."
        return [Table("The longer answer is preferred", ["source", "pairs", "share"], rows, note)] if rows else []


def longer_share(
    rows: float, longer: float, pairs: float, longer2: float, product: float, pairs2: float
) -> tuple[float, float, float]:
    """The share with its 95% interval, from sums over rows: Wilson's at the effective number of pairs.

    The pairs of one row are not independent: the variance is that of a ratio of sums over rows (Cochran 1977, section
    6.4), and share * (1 - share) / variance is the number of independent pairs that would have it. Without a spread
    between rows, the number of rows stands for it.
    """
    share = longer / pairs
    spread = longer2 - 2 * share * product + share**2 * pairs2
    variance = spread / pairs**2
    count = min(pairs, share * (1 - share) / variance) if variance > 0 else rows
    return share, *wilson(share * count, count)


class Labels(SourceCheck):
    """How the labels are spread: those of a task, thumbs up and down, or short answers of which there are few."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._rows: Counter[str] = Counter()
        self._free: set[str] = set()  # sources whose answers are no labels

    def see(self, row: Row) -> None:
        name, record = row.source.name, row.record
        self._rows[name] += 1
        if isinstance(record, Unpaired):
            self._counts[name, "desirable"][str(record.desirable).lower()] += 1
        if not isinstance(record, Instruction):
            return
        text = record.messages[-1]["content"].strip()
        if row.source.task.labels:
            value = parse(text)
            for field in row.source.task.labels:
                if isinstance(value, Mapping) and isinstance(value.get(field), str):
                    self._counts[name, field][value[field]] += 1
        elif name not in self._free:
            self._counts[name, "answer"][text] += 1
            if len(text) > 60 or len(self._counts[name, "answer"]) > MAX_LABELS:
                self._free.add(name)
                del self._counts[name, "answer"]

    def end(self, add: Add) -> list[Table]:
        rows = []
        for (source, field), counts in self._counts.items():
            total = sum(counts.values())
            if total < MIN_LABELLED or (field == "answer" and len(counts) > total / 5):
                continue
            rare = [label for label, count in counts.items() if count < FEW]
            common = counts.most_common(SHOWN)
            rows += [[source, field, label[:40], count, f"{count / total:.1%}"] for label, count in common]
            if len(counts) > SHOWN:
                rest = total - sum(count for _, count in common)
                rows.append([source, field, f"({len(counts) - SHOWN} others)", rest, f"{rest / total:.1%}"])
            if rare:
                some = ", ".join(rare[:5])[:120]
                message = f"{len(rare)} of {len(counts)} values of '{field}' occur in fewer than {FEW} rows: {some}"
                add(Finding("note", "rare_label", source, message))
        return [Table("Labels", ["source", "field", "label", "rows", "share"], rows)] if rows else []


class TaskAnswers(SourceCheck):
    """Whether answers are what their task asks: JSON of its schema, labels of its set; of ranked ones the best.

    Of a prompt's reference the labels that it gives are looked at.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._good: Counter[tuple[str, str]] = Counter()
        self._all: Counter[tuple[str, str]] = Counter()
        self._wrong: list[Finding] = []

    def see(self, row: Row) -> None:
        task = row.source.task
        asks = task.json_schema is not None or task.labels or task.label_set is not None
        answer = _answer(row.record) if asks else None
        if answer is None:
            return
        text, field = answer
        faults = list(_faults(text, task, is_whole=field != "reference"))
        for what, problem in faults:
            self._all[row.source.name, what] += 1
            self._good[row.source.name, what] += not problem
            if problem:
                self._wrong.append(
                    Finding("warning", "task_answer", row.source.name, problem, row.file, row.number, field)
                )

    def end(self, add: Add) -> list[Table]:
        for finding in self._wrong:
            add(finding)
        rows = [[*kind, count, f"{self._good[kind] / count:.1%}"] for kind, count in self._all.items()]
        return (
            [Table("Answers that are what the task asks", ["source", "check", "answers", "good"], rows)] if rows else []
        )


def _answer(record: Any) -> tuple[str, str] | None:
    if isinstance(record, Instruction):
        return record.messages[-1]["content"], f"messages[{len(record.messages) - 1}].content"
    if isinstance(record, Comparison):
        text = best(record)
        return text, f"completions[{record.completions.index(text)}]"
    if isinstance(record, Prompt) and record.reference is not None:
        return record.reference if isinstance(record.reference, str) else _dumped(record.reference), "reference"
    return None


def _dumped(value: Any) -> str:
    import json

    return json.dumps(value)


def _faults(text: str, task: TaskConfig, *, is_whole: bool) -> list[tuple[str, str]]:
    """Each check that applies, and what is wrong; "" if nothing. A reference may be a part of an answer."""
    value = parse(text)
    told = []
    if is_whole and task.json_schema is not None:
        problem = "is not JSON" if value is INVALID else "does not fit the task's JSON schema"
        told.append(("fits the JSON schema", "" if is_valid(value, task.json_schema) else problem))
    for field, allowed in task.labels.items():
        given = value.get(field) if isinstance(value, Mapping) else None
        if given is None and not is_whole:
            continue
        problem = "" if given in allowed else f"'{field}' is {str(given)[:40]!r}, which is not in the label set"
        told.append((f"label '{field}' is in the set", problem))
    if task.label_set is not None:
        problem = "" if label_in(text, task.label_set) is not None else f"{text[:40]!r} is not in the label set"
        told.append(("is in the label set", problem))
    return told


class Languages(SourceCheck):
    """The languages of a sample of each source's answers, or texts, told by py3langid from their first characters."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._random = random.Random(settings.seed)
        self._sample: dict[str, list[str]] = defaultdict(list)
        self._count: Counter[str] = Counter()

    def see(self, row: Row) -> None:
        texts = row.answers or row.fields
        text = max((held for _, held in texts), key=len)[:SAMPLED_CHARACTERS]
        name, sample = row.source.name, self._sample[row.source.name]
        self._count[name] += 1
        if len(sample) < SAMPLED:
            sample.append(text)
        elif (place := self._random.randrange(self._count[name])) < SAMPLED:
            sample[place] = text

    def end(self, add: Add) -> list[Table]:
        rows = []
        for source, drawn in self._sample.items():
            sample = [text for text in drawn if sum(map(str.isalpha, text)) >= MIN_LETTERS]
            counts = Counter(map(_language, sample))
            common = [(name, count) for name, count in counts.most_common() if count >= max(2, RARE * len(sample))]
            rest = len(sample) - sum(count for _, count in common)
            for language, count in [*common, *([("(others)", rest)] if rest else [])]:
                rows.append([source, language, count, f"{count / len(sample):.1%}"])
        note = f"Told by py3langid in at most {SAMPLED} rows a source, taken at random; short texts are often mistaken."
        return [Table("Languages", ["source", "language", "rows", "share"], rows, note)] if rows else []


def _language(text: str) -> str:
    import py3langid

    return str(py3langid.classify(text)[0])
