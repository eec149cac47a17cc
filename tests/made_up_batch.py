"""A small batch for tests, with policies in its key whose names no export may hold."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stages.annotation.batch import Batch
from stages.annotation.schema import Assignment, Shown, Task, opaque

SECRET = b"a secret of the tests"
POLICIES = ("policy-of-secret-one", "policy-of-secret-two")
QUESTIONS = ("Why is the sky blue?", "Name three rivers of Europe.", "What is a prime number?", "How do tides arise?")


def made_up_batch(
    texts: Sequence[Sequence[str]] | None = None,
    annotators: Sequence[str] = ("ann1", "ann2"),
    questions: Sequence[str] = QUESTIONS,
) -> Batch:
    """A task for each list of completions, by default four tasks of 2 to 5; everybody sees all, in an own order."""
    if texts is None:
        texts = [[f"Answer {n} to question {number}." for n in range(number + 2)] for number in range(4)]
    batch_id = opaque(SECRET, "b", "made up")
    tasks = tuple(
        _task(batch_id, number, questions[number % len(questions)], completions)
        for number, completions in enumerate(texts)
    )
    orders = random.Random(5)
    assignments = tuple(
        Assignment(annotator, task.task_id, tuple(orders.sample(task.ids, len(task.ids))))
        for annotator in annotators
        for task in tasks
    )
    return Batch(
        batch_id=batch_id,
        title="A made-up batch",
        instructions="Rank the answers.\n1 is best. Equal numbers are a tie.",
        tasks=tasks,
        assignments=assignments,
        key={task.task_id: _key(task) for task in tasks},
        settings={},
    )


def _task(batch_id: str, number: int, question: str, completions: Sequence[str]) -> Task:
    shown = tuple(Shown(opaque(SECRET, "c", number, place), text) for place, text in enumerate(completions))
    return Task(batch_id, opaque(SECRET, "t", number), ({"role": "user", "content": question},), shown)


def _key(task: Task) -> dict:
    return {
        "task_id": task.task_id,
        "kind": "normal",
        "gold": {name: 1 for name in task.ids},
        "repeat_of": None,
        "completions": {
            name: {"policy": POLICIES[place % 2], "stage_fingerprint": "sha256:of-a-secret-stage", "seed": 90210}
            for place, name in enumerate(task.ids)
        },
    }
