"""Whether enough has come back for the rows to be read."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract import ROWS
from stages.annotation.answers import read_answers
from stages.annotation.batch import read_batch


def missing(output: Path, returned: Path, min_rankings: int | None) -> str:
    """What has still to come in, in words; "" when it is enough.

    Without `min_rankings` every task needs one answer. DataError for a batch or rankings that posttune did not write.
    """
    batch = read_batch(output)
    asked = {task_id for task_id, line in batch.key.items() if line["kind"] == "normal"}
    answers = [answer for answer in read_answers(returned) if answer.task_id in asked]
    if not (returned / ROWS["batch"]).exists() or not answers:
        return f"none of {min_rankings or len(asked)} answers are back"
    if min_rankings is not None:
        return "" if len(answers) >= min_rankings else f"{len(answers)} of {min_rankings} answers are back"
    open_ = len(asked - {answer.task_id for answer in answers})
    return f"{open_} of {len(asked)} tasks have no answer yet" if open_ else ""
