"""Answers that look as if nobody had read: the order left as it was shown, hardly any time, one side always.

One such answer means little. An annotator is named when there are so many that chance gives them to fewer than one in
a thousand who read. Who is to be believed is for people to decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import factorial

from stages.annotation.batch import Batch
from stages.annotation.schema import UNTOUCHED, Answer, Task
from stages.annotation.shown import prompt_text

FAST, ONE_SIDE = "very_fast", "one_side"
FEWEST = 5  # answers of a kind before anybody is named
CHANCE = 0.001
MIN_SECONDS, WORDS_A_SECOND = 2.0, 15.0  # nobody reads faster: 15 words a second are 900 a minute


@dataclass(frozen=True)
class Suspect:
    """An annotator, what is wrong in words, and the tasks whose answers show it."""

    annotator: str
    warning: str
    words: str
    task_ids: frozenset[str]


def marked(answer: Answer, task: Task) -> Answer:
    """`answer` with a warning where its order is the one shown, or it took less than reading takes."""
    found = []
    if is_untouched(answer):
        found.append(UNTOUCHED)
    if answer.ranks and is_fast(answer, task):
        found.append(FAST)
    return replace(answer, warnings=tuple(dict.fromkeys([*answer.warnings, *found])))


def is_untouched(answer: Answer) -> bool:
    """Whether a whole ranking without ties is the order shown; of two answers, only where the tool knows it."""
    in_order = len(answer.shown) >= 2 and [answer.ranks.get(name) for name in answer.shown] == list(
        range(1, len(answer.shown) + 1)
    )
    return in_order and (len(answer.shown) > 2 or answer.touched is False)


def is_fast(answer: Answer, task: Task) -> bool:
    """Whether the answer took less time than reading takes, so far as the tool can tell."""
    return answer.active_seconds is not None and answer.active_seconds < least_seconds(task)


def least_seconds(task: Task) -> float:
    """Below this nobody has read the prompt and the completions.

    Words are what spaces part, so a text in a script without spaces is never thought read too fast.
    """
    texts = [prompt_text(task.messages), *(completion.text for completion in task.completions)]
    return MIN_SECONDS + sum(len(text.split()) for text in texts) / WORDS_A_SECOND


def find(answers: Iterable[Answer], batch: Batch) -> list[Suspect]:
    """Who has too many such answers, over all that are at hand."""
    by_annotator: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.task_id in batch.by_id:
            by_annotator[answer.annotator].append(answer)
    found = []
    for name, own in by_annotator.items():
        found += [one for one in (_untouched(name, own), _fast(name, own), _one_side(name, own)) if one]
    return found


def _untouched(name: str, answers: Sequence[Answer]) -> Suspect | None:
    whole = [a for a in answers if len(a.shown) > 2 and sorted(a.ranks.values()) == list(range(1, len(a.shown) + 1))]
    same = [a for a in whole if is_untouched(a)]
    unmoved = [a for a in answers if a.touched is False and is_untouched(a)]
    chances = [1 / factorial(len(a.shown)) for a in whole[:100]]  # half of more than 100 is past all chance
    if len(same) >= FEWEST and 2 * len(same) >= len(whole) and at_least(chances, min(len(same), 50)) < CHANCE:
        words = f"{len(same)} of {len(whole)} rankings are the order shown"
    elif len(unmoved) >= FEWEST:
        words = f"{len(unmoved)} of {len(answers)} answers were sent without a change"
    else:
        return None
    return Suspect(name, UNTOUCHED, words, frozenset(a.task_id for a in [*same, *unmoved]))


def _fast(name: str, answers: Sequence[Answer]) -> Suspect | None:
    timed = [a for a in answers if a.active_seconds is not None and a.ranks]
    fast = [a for a in timed if FAST in a.warnings]
    if len(fast) < FEWEST or 2 * len(fast) < len(timed):
        return None
    words = f"{len(fast)} of {len(timed)} timed answers took less than reading takes"
    return Suspect(name, FAST, words, frozenset(a.task_id for a in fast))


def _one_side(name: str, answers: Sequence[Answer]) -> Suspect | None:
    pairs = [a for a in answers if len(a.shown) == 2 and sorted(a.ranks.values()) == [1, 2]]
    firsts = [a for a in pairs if a.ranks[a.shown[0]] == 1]
    if len(firsts) not in (0, len(pairs)) or len(pairs) < FEWEST or 2 * 0.5 ** len(pairs) >= CHANCE:
        return None
    side = "first" if firsts else "second"
    words = f"all {len(pairs)} choices between two are the {side} answer"
    return Suspect(name, ONE_SIDE, words, frozenset(a.task_id for a in pairs))


def at_least(chances: Sequence[float], count: int) -> float:
    """The probability that `count` or more of independent events with these chances happen (Poisson binomial)."""
    exactly = [1.0]  # exactly[i]: i of those so far
    for chance in chances:
        exactly = [a * (1 - chance) + b * chance for a, b in zip([*exactly, 0.0], [0.0, *exactly], strict=True)]
    return min(1.0, sum(exactly[count:]))
