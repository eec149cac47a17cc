"""Prompts with their answers -> a blind batch: opaque ids, gold and repeated tasks mixed in, work dealt to people.

All of it follows from its arguments: the secret behind the ids is a hash of everything in the key, so only who has the
key can work it out, and the same recipe makes the same batch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stages.annotation.batch import Batch
from stages.annotation.schema import Assignment, Kind, Shown, Task, opaque
from stages.collect.config import Config
from stages.formats.records import Message, canonical

UNHASHED = ("min_rankings", "save_steps", "save_minutes", "save_total_limit")  # may change without a new batch
ALL_OVERLAP = 300  # tasks; of fewer every one is ranked by several people
LEAST_GOLD = 5  # tasks an annotator, where there are so many


@dataclass(frozen=True)
class Question:
    """A prompt and its different answers, with all that wrote each of them."""

    id: str
    messages: tuple[Message, ...]
    texts: tuple[str, ...]
    origins: tuple[tuple[Mapping[str, Any], ...], ...]  # of each text: two policies may give the same
    ranks: tuple[int | None, ...] = ()  # the known order of a gold question
    chosen: Mapping[str, Any] = field(default_factory=dict)  # how it came to be asked: strategy, propensity, score


def build(config: Config, questions: Sequence[Question], gold: Sequence[Question], seed: int) -> Batch:
    """The batch of these questions. Every question is dealt to at least one annotator."""
    contents = [[asdict(question) for question in group] for group in (questions, gold)]
    settings = config.model_dump(mode="json", exclude=set(UNHASHED))
    secret = hashlib.sha256(canonical([contents, settings, seed]).encode("utf-8", "surrogatepass")).digest()
    maker = _Maker(secret, opaque(secret, "b", "batch"))
    normal = [maker.task(question, "normal", f"n{i}") for i, question in enumerate(questions)]
    checks = [maker.task(question, "gold", f"g{i}") for i, question in enumerate(gold)]
    dealt = _deal(config, [task.task_id for task in normal], _chance(secret, "deal"))
    assignments: list[Assignment] = []
    for name, own in dealt.items():
        chance = _chance(secret, "order", name)
        again = chance.sample(own, round(config.repeat_fraction * len(own)))
        repeats = {i: maker.again(i, f"r{name}{i}").task_id for i in again}
        few = min(len(checks), max(LEAST_GOLD, round(config.gold_fraction * len(own))))
        mine = [*own, *(task.task_id for task in chance.sample(checks, few))]
        for task_id in _in_order(mine, repeats, chance):
            ids = list(maker.tasks[task_id].ids)
            chance.shuffle(ids)
            assignments.append(Assignment(name, task_id, tuple(ids), maker.key[task_id]["kind"]))
    used = {one.task_id for one in assignments}  # not every gold task may have been drawn
    # By id, which is as good as at random: a tool that shows them in this order must not show gold and repeats last.
    tasks = tuple(maker.tasks[task_id] for task_id in sorted(used))
    key = {task.task_id: maker.key[task.task_id] for task in tasks}
    return Batch(maker.batch_id, config.title, config.instructions, tasks, tuple(assignments), key, settings)


class _Maker:
    """Tasks and their lines in the key, by task id."""

    def __init__(self, secret: bytes, batch_id: str) -> None:
        self.secret, self.batch_id = secret, batch_id
        self.tasks: dict[str, Task] = {}
        self.key: dict[str, dict[str, Any]] = {}
        self._questions: dict[str, Question] = {}

    def task(self, question: Question, kind: Kind, place: str, repeat_of: str | None = None) -> Task:
        ids = [opaque(self.secret, "c", place, i) for i in range(len(question.texts))]
        task_id = opaque(self.secret, "t", place)
        shown = tuple(Shown(id_, text) for id_, text in zip(ids, question.texts, strict=True))
        task = self.tasks[task_id] = Task(self.batch_id, task_id, question.messages, shown)
        gold = {id_: rank for id_, rank in zip(ids, question.ranks, strict=True) if rank} if question.ranks else None
        self._questions[task_id] = question
        self.key[task_id] = {
            "task_id": task_id,
            "prompt_ref": {"row_id": question.id},
            "kind": kind,
            "gold": gold,
            "repeat_of": repeat_of,
            "chosen": dict(question.chosen),
            "completions": self._origins(question, ids, place),
        }
        return task

    def again(self, task_id: str, place: str) -> Task:
        """The same question as another task: nobody can tell by an id that it was asked before."""
        return self.task(self._questions[task_id], "repeat", place, repeat_of=task_id)

    def _origins(self, question: Question, ids: Sequence[str], place: str) -> dict[str, Any]:
        lines: dict[str, Any] = {}
        for i, (id_, written_by) in enumerate(zip(ids, question.origins, strict=True)):
            for j, origin in enumerate(written_by):
                name = id_ if j == 0 else opaque(self.secret, "c", place, i, j)
                lines[name] = {**origin, "duplicate_of": id_ if j else None}
        return lines


def _deal(config: Config, ids: Sequence[str], chance: random.Random) -> dict[str, list[str]]:
    """Each annotator's tasks: an overlapping one goes to several people, and all get about as many."""
    share = config.overlap if config.overlap is not None else 1.0 if len(ids) < ALL_OVERLAP else 0.2
    several = set(chance.sample(ids, round(share * len(ids))))
    dealt: dict[str, list[str]] = {name: [] for name in config.annotators}
    for task_id in ids:
        count = min(config.overlap_annotators, len(dealt)) if task_id in several else 1
        names = sorted(dealt, key=lambda name: (len(dealt[name]), chance.random()))
        for name in names[:count]:
            dealt[name].append(task_id)
    return dealt


def _in_order(own: Sequence[str], repeats: Mapping[str, str], chance: random.Random) -> list[str]:
    """At random; a repeated task stands in the half of the list after its first showing's, as far as there is room."""
    order = list(own)
    chance.shuffle(order)
    for first in sorted(repeats, key=order.index):
        place = order.index(first)
        order.insert(chance.randint(min(place + 1 + len(order) // 2, len(order)), len(order)), repeats[first])
    return order


def _chance(secret: bytes, *purpose: str) -> random.Random:
    return random.Random(hashlib.sha256(secret + canonical(purpose).encode()).digest())
