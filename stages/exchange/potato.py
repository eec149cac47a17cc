"""Potato (tried with 2.12.1): config.yaml and tasks.jsonl out; `potato.export` files or a user's state back.

Potato ranks fixed labels, so the completions are the letters A, B, ... of a task's text, in the order of
`work.shared_order`, and tasks of each number of completions have a folder of their own. Its page makes no ties, but
its answers may hold them ("A,B=C"). An untouched ranking is stored as nothing, and blocks "Next" when it is required.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import FLAGS, UNTOUCHED, Answer, Task
from stages.annotation.shown import prompt_text
from stages.annotation.times import written
from stages.exchange.cells import letter
from stages.exchange.judgements import Judgement, Parsed, dense_ranks, match
from stages.exchange.returned import name_of, read_json, read_lines, read_rows, read_text, seconds
from stages.exchange.tools import ExportOptions, Problem, ReadOptions, Returned
from stages.exchange.work import Work, by_size, open_work, shared_order, showable, write_lines, write_text
from stages.formats.rules import describe

NAME = "potato"
MARKUP = re.compile(r"<(?=[\w/!?])|(?<=javascript)(?=:)|(?<=vbscript)(?=:)|(?<=data)(?=:)", re.IGNORECASE)
REMEDY = "export it again: python -m potato.export --config config.yaml --format jsonl --output out"


@dataclass(frozen=True)
class Labels:
    """One person's labels of one task: schema -> label -> value."""

    where: str
    task_id: str
    annotator: str | None
    labels: Mapping[str, Mapping[str, Any]]
    started_at: str | None = None
    submitted_at: str | None = None
    active_seconds: float | None = None


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """A folder `k3`, `k4`, ... for each number of completions with config.yaml and tasks.jsonl; howto.md."""
    work = open_work(batch, options)
    files = []
    for size, group in by_size(work).items():
        files.append(write_text(folder / f"k{size}" / "config.yaml", _config(batch, size, group)))
        files.append(write_lines(folder / f"k{size}" / "tasks.jsonl", [_task(batch, one.task) for one in group]))
    if not files:
        return []
    return [*files, write_text(folder / "howto.md", HOWTO.format(batch=batch.batch_id, tasks=len(work)))]


def matches(path: Path, head: Any) -> bool:
    """A user_state.json, or the CSV or JSONL that `potato.export` writes."""
    if isinstance(head, dict):
        return "instance_id_to_label_to_value" in head or {"instance_id", "labels"} <= set(head)
    if not isinstance(head, str):
        return False
    return head.startswith("instance_id,user_id") or (head.startswith("{") and '"instance_id"' in head)


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The answers; letters become the completions that the export showed under them."""
    found = parse(path)
    judgements, problems = [], list(found.problems)
    for judgement in found.judgements:
        try:
            judgements.append(_named(judgement, batch))
        except DataError as error:
            problems.append(Problem(f"{path}:{judgement.where}", error.problem, error.remedy))
    return match(replace(found, judgements=judgements, problems=problems), batch, options, path)


def parse(path: Path) -> Parsed:
    """The judgements in a file, their ranks under the letters of the page."""
    judgements, problems = [], []
    ignored: Counter[str] = Counter()
    for labels in _all_labels(path):
        try:
            if isinstance(labels, DataError):
                raise labels
            answer = _answer(labels)
        except DataError as error:
            problems.append(Problem(error.where or f"{path}:{labels.where}", error.problem, error.remedy))
            continue
        if answer is None:
            ignored["neither ranked nor flagged"] += 1
        else:
            judgements.append(Judgement(labels.where, answer))
    return Parsed(judgements, problems, ignored)


def _all_labels(path: Path) -> list[Labels | DataError]:
    text = read_text(path).lstrip()
    if not text.startswith("{"):
        return [_of_cells(number, row) for number, row in read_rows(path)]
    if "\n{" in text.rstrip() or '"instance_id_to_label_to_value"' not in text:
        return [_of_line(number, row, path) for number, row in read_lines(path)]
    state = read_json(path)
    held = state.get("instance_id_to_label_to_value") if isinstance(state, dict) else None
    if not isinstance(held, dict):
        raise DataError("is no state of a Potato user", where=str(path), remedy=REMEDY)
    return [_of_state(task_id, pairs, state, path) for task_id, pairs in held.items()]


def _of_cells(number: int, row: Mapping[str, str]) -> Labels:
    labels: dict[str, dict[str, str]] = {}
    for column, value in row.items():
        schema, dot, label = column.partition(".")
        if dot and value != "":
            labels.setdefault(schema, {})[label] = value
    return Labels(f"row {number}", row.get("instance_id", ""), name_of(row.get("user_id")), labels)


def _of_line(number: int, row: Any, path: Path) -> Labels | DataError:
    labels = row.get("labels") if isinstance(row, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(held, dict) for held in labels.values()):
        return DataError("has no labels by schema", where=f"{path}:line {number}", remedy=REMEDY)
    return Labels(f"line {number}", name_of(row.get("instance_id")) or "", name_of(row.get("user_id")), labels)


def _of_state(task_id: str, pairs: Any, state: Mapping[str, Any], path: Path) -> Labels | DataError:
    labels: dict[str, dict[str, Any]] = {}
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], dict):
            return DataError("has labels that are no pairs", where=f"{path}:task {task_id}", remedy=REMEDY)
        labels.setdefault(str(pair[0].get("schema")), {})[str(pair[0].get("name"))] = pair[1]
    behavior = state.get("instance_id_to_behavioral_data")
    seen = behavior.get(task_id) if isinstance(behavior, dict) else None
    seen = seen if isinstance(seen, dict) else {}
    changes = seen.get("annotation_changes")
    times = (
        [written(one.get("timestamp")) for one in changes if isinstance(one, dict)] if isinstance(changes, list) else []
    )
    total = seconds(seen.get("total_time_ms"))
    return Labels(
        f"task {task_id}", task_id, name_of(state.get("user_id")), labels,
        started_at=written(seen.get("session_start")),
        submitted_at=max((time for time in times if time), default=None),
        active_seconds=total / 1000 if total else None,
    )  # fmt: skip


def _answer(held: Labels) -> Answer | None:
    """The answer, its ranks under letters; None where the person neither ranked nor flagged."""
    orders = [labels["rank_order"] for labels in held.labels.values() if labels.get("rank_order")]
    if len(orders) > 1:
        raise DataError("ranks in several schemas", remedy="keep one ranking schema")
    ranks = _order(orders[0]) if orders else {}
    flags = tuple(name for name, value in held.labels.get("flags", {}).items() if value not in (None, False, ""))
    if not ranks and not flags:
        return None
    comment = held.labels.get("comment", {}).get("text_box")
    read = {"comment", "flags"} | {schema for schema, labels in held.labels.items() if "rank_order" in labels}
    return Answer(
        "", held.task_id, held.annotator or "", "ranked",
        ranks=dense_ranks(ranks),
        flags=flags,
        comment=comment if isinstance(comment, str) else "",
        active_seconds=held.active_seconds,
        started_at=held.started_at,
        submitted_at=held.submitted_at,
        touched=bool(ranks),
        source={"tool": NAME, "record_id": held.task_id, "annotator_raw": held.annotator},
        warnings=tuple(f"not_read {schema}" for schema in sorted(set(held.labels) - read)),
    )  # fmt: skip


def _order(text: Any) -> dict[str, float]:
    """Ranks by letter of "B,D=A,C", best first."""
    if not isinstance(text, str):
        raise DataError(f"ranks with {describe(text)}; an order such as B,A=C is needed", remedy=REMEDY)
    ranks: dict[str, float] = {}
    for rank, tier in enumerate(text.split(","), start=1):
        for label in (name.strip() for name in tier.split("=")):
            if not re.fullmatch(r"[A-Z]{1,2}", label) or label in ranks:
                raise DataError(
                    f"has the order '{text[:60]}'; letters, each once, with , and = between are allowed",
                    remedy="keep the labels A, B, ... of the exported config.yaml",
                )
            ranks[label] = rank
    return ranks


def _named(judgement: Judgement, batch: Batch) -> Judgement:
    """The judgement with completion ids in the place of letters."""
    answer, task = judgement.answer, batch.by_id.get(judgement.answer.task_id)
    if task is None:
        return judgement  # `match` says so
    shown = shared_order(task)
    names = {letter(place): name for place, name in enumerate(shown)}
    unknown = sorted(set(answer.ranks) - set(names))
    if unknown:
        raise DataError(
            f"ranks {', '.join(unknown)}; the task has {', '.join(names)}",
            remedy="use the exported folder of its size: labels and texts must be of one task",
        )
    ranks = {names[label]: rank for label, rank in answer.ranks.items()}
    untouched = list(ranks) == list(shown) and len(set(ranks.values())) == len(shown)
    warnings = (*answer.warnings, UNTOUCHED) if untouched else answer.warnings
    touched = None if untouched else answer.touched  # older versions store the order shown when a page is opened
    return replace(judgement, answer=replace(answer, ranks=ranks, shown=shown, warnings=warnings, touched=touched))


def _task(batch: Batch, task: Task) -> dict[str, Any]:
    order = shared_order(task)
    texts = [f"{letter(place)}:\n{task.text(name)}" for place, name in enumerate(order)]
    text = showable("\n\n\n".join([prompt_text(task.messages), *texts]))
    return {"id": task.task_id, "text": _plain(text), "batch_id": batch.batch_id, "completion_ids": list(order)}


def _plain(text: str) -> str:
    """`text` that Potato shows as it is: it would render tags, load images and cut "data:" out.

    An invisible WORD JOINER (U+2060) in each such place keeps it from seeing them.
    """
    return MARKUP.sub(lambda found: found[0] + "\N{WORD JOINER}", text)


def _config(batch: Batch, size: int, work: Sequence[Work]) -> str:
    import yaml

    flags = {"annotation_type": "multiselect", "name": "flags", "description": "Anything wrong?", "labels": list(FLAGS)}
    config = {
        "annotation_task_name": showable(batch.title or batch.batch_id),
        "task_dir": ".",
        "output_annotation_dir": "annotation_output/",
        "data_files": ["tasks.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "user_config": {"allow_all_users": True, "users": []},
        "require_password": False,
        "max_annotations_per_item": max(len(one.annotators) for one in work),
        "export_annotation_format": ["csv", "jsonl"],
        "annotation_schemes": [
            {
                "annotation_type": "ranking",
                "name": "ranking",
                "description": "Drag into order, best on top",
                "labels": [letter(place) for place in range(size)],
                "label_requirement": {"required": True},
            },
            flags,
            {"annotation_type": "text", "name": "comment", "description": "Why?", "textarea": {"on": True}},
        ],
        "site_dir": "default",
    }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


HOWTO = """# Batch {batch} in Potato

{tasks} tasks, in a folder for each number of completions (`k3` holds tasks of three).

1. `pip install potato-annotation` (2.12), then in a folder: `potato start config.yaml -p 8000`.
2. People rank A, B, ... by dragging. All see a task's completions in one order, shuffled task by task. The page makes
   no ties; where you need them use another tool.
3. `python -m potato.export --config config.yaml --format jsonl --output out`, and import the file in `out` (CSV does
   as well), or import each `annotation_output/<user>/user_state.json`, which also says when.
"""
