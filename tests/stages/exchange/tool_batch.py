"""Batches for the tests of the tools' adapters, with a key whose every word would give a policy away."""

from __future__ import annotations

import json
from pathlib import Path

from stages.annotation.batch import Batch
from stages.annotation.schema import Assignment, Shown, Task, opaque

SECRET = b"a secret of the tests"
HOSTILE = (
    "<script>window.__pwned=1</script>", "=HYPERLINK(\"http://x\",\"y\")", "two\nlines, \"quoted\"", "data: <b>x</b>",
    "こんにちは 👋🏽", "\u202egnp.exe", "half \ud83d of a pair", "NUL \x00 inside", '[{"ranker":{"rank":["c_x"]}}]',
    '{"text": "not a comment"}', "    indented", "x" * 3000,
)  # fmt: skip


def batch_of(*sizes, people=("ann1", "ann2"), texts=HOSTILE, content="What is 2+2?"):
    """A batch with a task of each size that everybody is to answer, each in an order of their own."""
    batch_id = opaque(SECRET, "b", 0)
    tasks, assignments, key = [], [], {}
    for number, size in enumerate(sizes):
        names = [opaque(SECRET, "c", number, place) for place in range(size)]
        shown = tuple(Shown(name, f"{texts[place % len(texts)]} {place}") for place, name in enumerate(names))
        task = Task(batch_id, opaque(SECRET, "t", number), ({"role": "user", "content": content},), shown)
        tasks.append(task)
        for turn, person in enumerate(people):
            order = tuple(names[turn % size :] + names[: turn % size])
            assignments.append(Assignment(person, task.task_id, order, "gold" if number == 0 else "normal"))
        key[task.task_id] = {
            "task_id": task.task_id,
            "kind": "gold",
            "gold": {names[0]: 77777},
            "repeat_of": "secret-repeat",
            "prompt_ref": {"dataset": "secret-dataset", "row_id": "secret-row"},
            "completions": {
                name: {"policy": f"secret-policy-{place}", "checkpoint": "secret-run/step_900", "rm_score": 0.123456}
                for place, name in enumerate(names)
            },
        }
    return Batch(batch_id, "Which is best?", "Rank <b>all</b> & be fair.", tuple(tasks), tuple(assignments), key, {})


def batch_from_label_studio(path: Path, people=("1", "2")):
    """The batch that the tasks of a Label Studio JSON export belong to, read off their data."""
    found = {}
    for row in json.loads(path.read_text("utf-8")):
        data = row["data"]
        if "items" in data:
            texts = [(item["id"], item.get("body") or item["html"]) for item in data["items"]]
        elif "left_id" in data:
            texts = [(data["left_id"], data["left"]), (data["right_id"], data["right"])]
        else:
            texts = [(name, data[f"completion_{n}"]) for n, name in enumerate(data["completion_ids"], start=1)]
        found[data["task_id"]] = Task(
            data["batch_id"], data["task_id"], tuple(data["messages"]), tuple(Shown(*one) for one in texts)
        )
    return from_tasks(found.values(), people)


def from_tasks(tasks, people):
    """A batch of these tasks for these people."""
    tasks = tuple(tasks)
    assignments = tuple(Assignment(person, task.task_id, task.ids) for task in tasks for person in people)
    key = {task.task_id: {"task_id": task.task_id} for task in tasks}
    return Batch(tasks[0].batch_id, "", "", tasks, assignments, key, {})


def dense(ranks):
    """Ranks without gaps and without those that are None, worked out by counting."""
    given = {name: rank for name, rank in ranks.items() if rank is not None}
    return {name: 1 + len({r for r in given.values() if r < rank}) for name, rank in given.items()}
