"""The long layout that XLSX and CSV share: one row a completion, so that rows may be sorted.

`row_check` ties a row's ids to the number and the letter that the annotator saw: columns that were sorted apart from
each other do not pass for answers. `filled_in.py` reads it back.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.annotation.batch import Batch
from stages.annotation.schema import FLAGS
from stages.annotation.shown import prompt_text
from stages.exchange import cells
from stages.exchange.tools import ExportOptions
from stages.formats.records import canonical

COLUMNS = ("task_no", "prompt", "answer", "text", "rank", "comment", "flag", "task_id", "completion_id", "row_check",
           "batch_id", "annotator")  # fmt: skip
FILLED_IN = ("rank", "comment", "flag")  # by the annotator
NEEDED = ("task_no", "answer", "rank", "task_id", "completion_id", "row_check")
HOW_TO = (
    "How to fill this in",
    "Each task is a prompt and several answers, one a row. Rank the answers of a task in the column 'rank':",
    "1 is the best, 2 the next, and so on. Equal numbers are a tie. Leave the cell empty where you cannot rank.",
    f"'flag' may say {', '.join(FLAGS)}, or skip to pass over the task. 'comment' is free text.",
    "You may stop at any time: tasks without a rank are taken as not done. Rows may be sorted.",
    "Please leave all other columns as they are: they say which answer a row is.",
)


@dataclass(frozen=True)
class Line:
    """One row of the sheet: a completion as one annotator sees it."""

    number: int  # of the task, from 1
    count: int  # completions of the task
    values: Mapping[str, str]  # by column


def lines(batch: Batch, annotator: str, options: ExportOptions) -> Iterator[Line]:
    """The annotator's rows in their order, but for tasks that are done; texts whole and unguarded."""
    left = [pair for pair in batch.of(annotator) if (annotator, pair[0].task_id) not in options.exclude_done]
    for number, (task, shown) in enumerate(left, start=1):
        for position, name in enumerate(shown):
            ids = (str(number), cells.letter(position), task.task_id, name)
            texts = {"prompt": prompt_text(task.messages), "text": task.text(name)}
            values = {**texts, **dict(zip(("task_no", "answer", "task_id", "completion_id"), ids, strict=True))}
            values |= {"row_check": row_check(batch, *ids), "batch_id": batch.batch_id, "annotator": annotator}
            yield Line(number, len(shown), {column: values.get(column, "") for column in COLUMNS})


def row_check(batch: Batch, *ids: str) -> str:
    """r_ and 8 hex digits of an HMAC over what says which row this is: bare digits would be taken for a number."""
    text = canonical((batch.batch_id, *ids)).encode("utf-8", "surrogatepass")
    return "r_" + hmac.new(batch.digest.encode(), text, hashlib.sha256).hexdigest()[:8]


def has_our_columns(titles: Sequence[str]) -> bool:
    """Whether a header is of this layout."""
    return {"rank", "task_id", "completion_id", "row_check"} <= set(titles)
