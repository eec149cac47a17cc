"""Prodigy: pairs out, `db-out` JSONL back. Prodigy has no ranking page, so a ranking of K is asked as K(K-1)/2 pairs.

Written from its documentation: Prodigy is sold, and we have not run it. Sides are shuffled pair by pair and person by
person. A pair's id is task_id#left#right. What a person's pairs say together is worked out in `pairs.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Task
from stages.annotation.shown import prompt_text
from stages.annotation.times import written
from stages.exchange.judgements import Judgement, Parsed, match
from stages.exchange.pairs import Choice, order_of
from stages.exchange.returned import name_of, read_lines
from stages.exchange.tools import ExportOptions, Problem, ReadOptions, Returned
from stages.exchange.work import file_names, open_work, showable, write_lines, write_text

NAME = "prodigy"
EQUAL = "equal"  # the option for a tie; ids of completions begin with c_
REMEDY = "export it again: prodigy db-out DATASET > answers.jsonl"


@dataclass(frozen=True)
class Pair:
    """One answered pair: `winner` is None for a tie, `chosen` is False where the person passed it over."""

    where: str
    task_id: str
    batch_id: str
    digest: str | None
    annotator: str
    sides: tuple[str, str]
    chosen: bool
    winner: str | None
    at: str | None

    @property
    def key(self) -> tuple[str, str, frozenset[str]]:
        """What there is one answer for."""
        return self.task_id, self.annotator, frozenset(self.sides)


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """`<batch>__<annotator>.jsonl` for each person, in the order of their tasks, and howto.md."""
    work = open_work(batch, options)
    left = {(name, one.task.task_id) for one in work for name in one.annotators}
    files, names = [], file_names(batch)
    for annotator in dict.fromkeys(name for name, _ in sorted(left)):
        tasks = [task for task, _ in batch.of(annotator) if (annotator, task.task_id) in left]
        rows = [row for task in tasks for row in _pairs(batch, task, annotator)]
        files.append(write_lines(folder / f"{names[annotator]}.jsonl", rows))
    if not files:
        return []
    return [*files, write_text(folder / "howto.md", HOWTO.format(batch=batch.batch_id, tasks=len(work)))]


def matches(path: Path, head: Any) -> bool:
    """JSON lines with options and an answer."""
    first = head if isinstance(head, str) else ""
    if isinstance(head, dict):
        return {"options", "answer"} <= set(head)
    return first.startswith("{") and '"options"' in first and ('"answer"' in first or '"_task_hash"' in first)


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """One answer a person and task, as far as that person's pairs agree."""
    return match(parse(path), batch, options, path)


def parse(path: Path) -> Parsed:
    """The judgements in a `db-out` file: a person's pairs of a task, collected into a ranking."""
    problems, ignored, notes = [], Counter[str](), []
    newest: dict[tuple[str, str, frozenset[str]], list[Pair]] = {}
    for number, row in read_lines(path):
        try:
            pair = _pair(row, f"line {number}")
        except DataError as error:
            problems.append(Problem(f"{path}:line {number}", error.problem, error.remedy))
            continue
        newest.setdefault(pair.key, []).append(pair)
    tasks: dict[tuple[str, str], list[Pair]] = {}
    for (task_id, annotator, _), pairs in newest.items():
        kept = _newest(pairs)
        ignored["replaced by a newer answer to the same pair"] += len(pairs) - len(kept)
        tasks.setdefault((task_id, annotator), []).extend(kept)
    judgements = []
    for (task_id, annotator), pairs in tasks.items():
        answer, remark = _answer(pairs)
        where = f"task {task_id} by {annotator}"
        if answer is None:
            problems.append(Problem(f"{path}:{where}", remark, "ask this person to rank the task again, as a whole"))
            continue
        judgements.append(Judgement(where, answer))
        if remark:
            notes.append(f"{where}: {remark}")
    return Parsed(judgements, problems, +ignored, notes)


def _pair(row: Any, where: str) -> Pair:
    options = row.get("options") if isinstance(row, dict) else None
    names = [one.get("id") for one in options if isinstance(one, dict)] if isinstance(options, list) else []
    sides = [name for name in names if isinstance(name, str) and name != EQUAL]
    task_id = name_of(row.get("task_id")) if isinstance(row, dict) else None
    if task_id is None or len(sides) != 2 or sides[0] == sides[1]:
        raise DataError("is no pair of a batch: task_id and two options with ids are needed", remedy=REMEDY)
    accepted, verdict = row.get("accept") or [], row.get("answer")
    if verdict not in ("accept", "reject", "ignore") or not isinstance(accepted, list):
        raise DataError(f"has the answer {verdict!r}; accept, reject or ignore is allowed", remedy=REMEDY)
    if not all(isinstance(name, str) and name in (*sides, EQUAL) for name in accepted):
        raise DataError(f"accepts {accepted!r}, which the pair does not offer", remedy=REMEDY)
    won = [name for name in sides if name in accepted]
    if EQUAL in accepted and len(won) == 1:
        raise DataError("accepts a side and the tie", remedy="ask for this pair again")
    return Pair(
        where,
        task_id,
        name_of(row.get("batch_id")) or "",
        name_of(row.get("task_digest")),
        _person(row),
        (sides[0], sides[1]),
        chosen=verdict == "accept" and bool(accepted),
        winner=won[0] if len(won) == 1 else None,
        at=written(row.get("_timestamp")),
    )


def _person(row: Mapping[str, Any]) -> str:
    """The annotator that the export wrote into the row; else the session, dataset-name, without its dataset."""
    session = name_of(row.get("_annotator_id")) or name_of(row.get("_session_id")) or ""
    return name_of(row.get("annotator")) or session.rpartition("-")[2]


def _newest(pairs: Sequence[Pair]) -> list[Pair]:
    """The newest answer to a pair; all of them where times do not tell, so that a contradiction shows."""
    times = {pair.at for pair in pairs}
    if len(pairs) > 1 and None not in times and len(times) == len(pairs):
        return [max(pairs, key=lambda pair: pair.at or "")]
    seen: dict[tuple[bool, str | None], Pair] = {}
    for pair in pairs:
        seen.setdefault((pair.chosen, pair.winner), pair)
    return list(seen.values())


def _answer(pairs: Sequence[Pair]) -> tuple[Answer | None, str]:
    """The ranking that a person's pairs of a task make, and what had to be left out; None where nothing is left."""
    chosen = [Choice(*pair.sides, pair.winner) for pair in pairs if pair.chosen]
    order = order_of(chosen)
    if chosen and not order.ranks:
        return None, order.remark
    first = pairs[0]
    answer = Answer(
        first.batch_id, first.task_id, first.annotator, "ranked" if chosen else "skipped",
        ranks=order.ranks,
        task_digest=first.digest,
        submitted_at=max((pair.at for pair in pairs if pair.at), default=None),
        touched=bool(chosen),
        source={"tool": NAME, "record_id": first.task_id, "annotator_raw": first.annotator},
        warnings=order.warnings,
    )  # fmt: skip
    return answer, order.remark


def _pairs(batch: Batch, task: Task, annotator: str) -> list[dict[str, Any]]:
    prompt = showable(prompt_text(task.messages))
    rows = []
    for pair in combinations(sorted(task.ids), 2):
        left, right = pair if _coin(annotator, *pair) else pair[::-1]
        options = [{"id": name, "text": showable(task.text(name))} for name in (left, right)]
        rows.append({
            "id": f"{task.task_id}#{left}#{right}",
            "text": prompt,
            "options": [*options, {"id": EQUAL, "text": "About the same"}],
            "batch_id": batch.batch_id,
            "task_id": task.task_id,
            "task_digest": task.digest,
            "annotator": annotator,
        })  # fmt: skip
    return rows


def _coin(annotator: str, first: str, second: str) -> bool:
    """Heads or tails, the same again for the same pair and person."""
    text = f"{annotator}#{first}#{second}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[0] % 2 == 0


HOWTO = """# Batch {batch} in Prodigy

{tasks} tasks, asked as pairs: one file a person.

1. For each person: `prodigy mark NAME FILE.jsonl --view-id choice`, with `"choice_style": "single"` and
   `"choice_auto_accept": true` in `prodigy.json`. A chooses, Space passes the pair over.
2. `prodigy db-out NAME > NAME.jsonl`, and import that file.

A person's pairs of a task become one ranking. Pairs that contradict each other (A over B, B over C, C over A) rank
nothing, and the import names them.
"""
