"""What every answer must fulfil, whichever tool it comes from."""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.errors import DataError
from stages.annotation import suspects
from stages.annotation.batch import Batch
from stages.annotation.schema import ANSWER, Answer, ranked_answer
from stages.annotation.times import written
from stages.annotation.validate import check
from stages.exchange.filled_in import wrong_batch
from stages.returns.names import Names


def check_batch(answer: Answer, batch: Batch, place: str) -> None:
    """The file is refused where it answers another batch, or other texts under the ids of this one."""
    if answer.batch_id != batch.batch_id:
        raise wrong_batch(str(answer.batch_id), batch, place)
    task = batch.by_id.get(answer.task_id)
    if task is not None and answer.task_digest not in (None, task.digest):
        raise DataError(
            f"task {task.task_id} was shown with other texts (digest {str(answer.task_digest)[:20]}...; "
            f"{task.digest[:20]}... is expected)",
            where=place,
            remedy=f"the file is of another version of {batch.batch_id}: import it where that was published",
        )


def checked(answer: Answer, batch: Batch, names: Names, place: str) -> Answer:
    """The answer as it is kept: known ids, ranks of 1 to K made dense, one spelling of the annotator, one of a time."""
    task = batch.by_id.get(answer.task_id)
    if task is None:
        raise DataError(
            f"answers {answer.task_id[:40]!r}, which is no task of {batch.batch_id}",
            where=place,
            remedy="an id was edited: take it from the file that was sent out",
        )
    check(answer.as_row() | {"annotator": answer.annotator or "?"}, ANSWER, place)
    strange = [name for name in (*answer.shown, *answer.ratings) if name not in task.ids]
    high = [name for name, rank in answer.ranks.items() if rank > len(task.ids)]
    if strange or high or not _is_finite(answer) or (answer.strength is not None and len(task.ids) != 2):
        raise DataError(
            f"shows {strange[0]}, which the task does not have" if strange
            else f"ranks {high[0]} {answer.ranks[high[0]]}; 1 (best) to {len(task.ids)} are allowed" if high
            else "has a strength, which only a choice between two has" if _is_finite(answer)
            else "has a number that is not finite",
            where=place,
            remedy="mend the file, or ask for it again",
        )  # fmt: skip
    name = names.of(answer.annotator, place)
    ranked = ranked_answer(answer, answer.ranks, task.ids)
    kept = replace(ranked, annotator=name, task_digest=task.digest)
    kept = replace(kept, started_at=written(answer.started_at), submitted_at=written(answer.submitted_at))
    return suspects.marked(kept, task)


def _is_finite(answer: Answer) -> bool:
    given = [number for ratings in answer.ratings.values() for number in ratings.values()]
    return all(math.isfinite(number) for number in (*given, answer.active_seconds or 0))
