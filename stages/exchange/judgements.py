"""What a tool's file says, before and after it is held against a batch.

A reader has two halves: its `parse` takes judgements from the file without knowing the batch, and `match` here, which
all tools share, checks them against the batch's tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import UNTOUCHED, Answer, ranked_answer
from stages.exchange.returned import digest, note_on
from stages.exchange.tools import Problem, ReadOptions, Returned
from stages.formats.rules import dense


@dataclass(frozen=True)
class Judgement:
    """An answer as the file has it: the tool's name of the person, ids as they stand, "" for a batch not named."""

    where: str
    answer: Answer


@dataclass(frozen=True)
class Parsed:
    """What a file holds, batch unseen."""

    judgements: Sequence[Judgement]
    problems: Sequence[Problem] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def dense_ranks(raw: Mapping[str, float]) -> dict[str, int]:
    """The places of a tool, lowest is best, as ranks from 1 without gaps."""
    return {name: rank for name, rank in zip(raw, dense(list(raw.values())), strict=True) if rank is not None}


def match(parsed: Parsed, batch: Batch, options: ReadOptions, path: Path) -> Returned:
    """The judgements that fit the batch as answers, the others as problems; DataError where all are of another batch.

    One person's several answers to a task: the newest stands and keeps the others in `superseded`. Without times to
    tell, equal ones are one answer, and different ones are all returned: whoever imports must settle that.
    """
    ignored, problems, kept = Counter(parsed.ignored), list(parsed.problems), []
    ours = [j for j in parsed.judgements if j.answer.batch_id in ("", batch.batch_id)]
    others = Counter(j.answer.batch_id for j in parsed.judgements if j.answer.batch_id not in ("", batch.batch_id))
    if others and not ours:
        raise DataError(
            f"answers batch {', '.join(sorted(others))}; the batch here is {batch.batch_id}",
            where=str(path),
            remedy="import it into the run that made its batch, or name that batch",
        )
    for name, count in others.items():
        ignored[f"of another batch ({name})"] += count
    source = {"file_sha256": digest(path)}
    for judgement in ours:
        try:
            kept.append(_answer(judgement.answer, batch, options, source))
        except DataError as error:
            place = f"{path}:{judgement.where}" + (f", {error.where}" if error.where else "")
            problems.append(Problem(place, error.problem, error.remedy))
    answers = _settled(kept, ignored)
    return Returned(answers, problems, dict(+ignored), [*note_on(path), *parsed.notes, *_remarks(answers, batch)])


def _answer(raw: Answer, batch: Batch, options: ReadOptions, source: Mapping[str, str]) -> Answer:
    task = batch.by_id.get(raw.task_id)
    if task is None:
        raise DataError(
            f"there is no task '{raw.task_id}' in batch {batch.batch_id}",
            remedy="an id was edited, or the file belongs to another batch",
        )
    if raw.shown and set(raw.shown) != set(task.ids):
        raise DataError(
            f"shows the completions {', '.join(raw.shown)}; the task has {', '.join(task.ids)}",
            where=f"task {raw.task_id}",
            remedy="an id was edited in the tool: import the exported tasks there anew",
        )
    name = options.users.get(raw.source.get("annotator_raw") or "") or options.person(raw.annotator)
    if not name:
        raise DataError("does not say who answered", remedy="name the annotator of this file")
    answer = replace(raw, batch_id=batch.batch_id, annotator=name, source={**raw.source, **source})
    answer = ranked_answer(answer, raw.ranks, task.ids)
    if answer.status == "skipped" != raw.status:  # not passed over, but sent off as it was
        return replace(answer, skip_reason="submitted without a ranking")
    return answer


def _settled(answers: Sequence[Answer], ignored: Counter[str]) -> list[Answer]:
    groups: dict[tuple[str, str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.key, []).append(answer)
    settled = []
    for group in groups.values():
        if len({answer.submitted_at for answer in group}) == len(group) and all(a.submitted_at for a in group):
            *earlier, newest = sorted(group, key=lambda answer: answer.submitted_at or "")
            ignored["replaced by the same person's newer answer"] += len(earlier)
            settled.append(replace(newest, superseded=tuple(answer.as_row() for answer in earlier)))
            continue
        different: list[Answer] = []
        for answer in group:
            if any(answer.says_the_same_as(other) for other in different):
                ignored["the same answer again"] += 1
            else:
                different.append(answer)
        settled += different
    return settled


def _remarks(answers: Sequence[Answer], batch: Batch) -> list[str]:
    notes = []
    untouched = sum(UNTOUCHED in answer.warnings for answer in answers)
    ranked = sum(bool(answer.ranks) for answer in answers)
    if untouched:
        notes.append(f"{untouched} of {ranked} rankings are the order in which the tool showed the completions")
    strangers = sorted({answer.annotator for answer in answers} - set(batch.annotators))
    if strangers:
        notes.append(
            f"the batch has no tasks for {', '.join(strangers[:5])}"
            + (f" and {len(strangers) - 5} others" if len(strangers) > 5 else "")
            + ": if these are user numbers of the tool, say who they are with --users"
        )
    return notes
