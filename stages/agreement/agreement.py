"""Do the annotators agree? Everything that `collect agreement` says of a batch, as one record.

`measure` makes it, `as_row` is its form in agreement.json, and readings.py says it in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stages.agreement.alpha import rank_alpha
from stages.agreement.annotators import Annotator, annotators
from stages.agreement.concordance import mean_w, tau_matrix
from stages.agreement.dawid_skene import Skill, skills
from stages.agreement.disputes import Cycle, Disputed, Reversal, disputed, majority_cycles, own_contradictions
from stages.agreement.intervals import Figure, mean_by_task
from stages.agreement.judged import Meetings, by_task, check_tasks, meetings, newest
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer

SCHEMA = "pref.agreement/1"


@dataclass(frozen=True)
class Agreement:
    """How people agree on a batch's normal tasks, and what is known of each of them."""

    batch_id: str
    num_tasks: int  # of the batch, of all kinds
    num_ranked: int  # normal tasks that somebody ranked
    num_overlapped: int  # of those, ranked by two or more
    statuses: Mapping[str, int]  # answers by status
    pairwise: Figure  # ties half a win each
    pairwise_apart: Figure  # only where neither of the two called it a tie: what publications mostly give
    alpha: Figure
    w: Mapping[int, Figure]  # number of annotators -> mean Kendall W
    tau_b: Mapping[tuple[str, str], Figure]
    annotators: Sequence[Annotator]
    skills: Mapping[str, Skill]  # those with enough overlap
    disputed: Sequence[Disputed]
    cycles: Sequence[Cycle]  # of majorities
    reversals: Sequence[Reversal]
    own_cycles: Sequence[Cycle]

    def as_row(self) -> dict[str, Any]:
        """The content of agreement.json."""
        row = {"schema": SCHEMA, **asdict(self)}
        row["w"] = {str(num): asdict(figure) for num, figure in self.w.items()}
        row["tau_b"] = [{"annotators": list(both), **asdict(figure)} for both, figure in self.tau_b.items()]
        return row


def measure(batch: Batch, answers: Sequence[Answer], seed: int = 0) -> Agreement:
    """All figures of a batch's answers; those with nothing to say them from have no value.

    seed: of the bootstrap. DataError for answers to tasks that are not the batch's.
    """
    check_tasks(batch, answers)
    given = newest(answers)
    tasks = by_task(batch, given)
    met = meetings(tasks)
    reversals, own_cycles = own_contradictions(batch, given)
    return Agreement(
        batch_id=batch.batch_id,
        num_tasks=len(batch.tasks),
        num_ranked=len(tasks),
        num_overlapped=sum(len(task.annotators) > 1 for task in tasks),
        statuses=dict(Counter(answer.status for answer in given)),
        pairwise=pairwise(met, seed),
        pairwise_apart=pairwise_apart(met, seed),
        alpha=rank_alpha(tasks, seed),
        w=mean_w(tasks, seed),
        tau_b=tau_matrix(tasks),
        annotators=annotators(batch, given, met, seed),
        skills=skills(batch, given),
        disputed=disputed(batch, given, tasks, met),
        cycles=majority_cycles(batch, tasks),
        reversals=reversals,
        own_cycles=own_cycles,
    )


def pairwise(met: Meetings, seed: int = 0) -> Figure:
    """How probably two annotators agree on a pair, a tie being half a win for each side; .5 is chance."""
    return _mean(met, np.ones(len(met.task_M), bool), seed)


def pairwise_apart(met: Meetings, seed: int = 0) -> Figure:
    """The same over the pairs that both annotators order."""
    return _mean(met, met.apart_M, seed)


def _mean(met: Meetings, chosen_M: Any, seed: int) -> Figure:
    return mean_by_task(*met.by_task(chosen_M), "pairs", seed)
