"""What an answer is paid: reward models, alone or as an ensemble, and functions that check it; a weighted sum of them.

Shapes: B answers.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import RecipeError, StageFailed
from stages.evaluate.answers import Question
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.ppo.config import Loop, RewardFunction
from stages.rollout.score import normalised_scores, normalised_scores_and_states
from stages.rollout.sequences import Sequences

TRIED = 8  # prompts a function is tried on before training

# Gets prompts (conversations), completions (texts) and references (None where a row has none) by keyword; gives one
# finite number a completion. TRL's GRPO reward functions take the first two the same way.
Paid = Callable[..., Sequence[float]]


@dataclass(frozen=True)
class Function:
    """An importable reward function, or the name of one of the task's checks, with what the recipe says of it."""

    name: str
    call: Paid | None  # None: the check of that name
    config: RewardFunction

    @property
    def place(self) -> str:
        return f"reward_functions.{self.name}"


@dataclass(frozen=True)
class Rewards:
    """All sources of one run. `known` holds what the data says of each prompt, by its ids."""

    chat: Chat
    heads: Mapping[str, ScalarHead]  # by role, each a reward model; several are an ensemble
    functions: Sequence[Function]
    known: Mapping[tuple[int, ...], Question]
    config: Loop

    def parts(self, backbone: Backbone, sequences: Sequences) -> dict[str, Tensor]:
        """Each source's payment for each answer, [B], before weights; a reward model's is normalised and clipped."""
        found = {role: normalised_scores(backbone, role, head, sequences) for role, head in self.heads.items()}
        return self._complete(found, sequences)

    def parts_and_states(self, backbone: Backbone, sequences: Sequences) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Also the first reward model's states before each answer's tokens, from the same forward."""
        (first, head), *others = self.heads.items()
        scores_B, states = normalised_scores_and_states(backbone, first, head, sequences)
        rest = {role: normalised_scores(backbone, role, head, sequences) for role, head in others}
        return self._complete({first: scores_B, **rest}, sequences), states

    def _complete(self, scores: Mapping[str, Tensor], sequences: Sequences) -> dict[str, Tensor]:
        clip = self.config.score_clip
        clipped = {role: scores_B.clamp(-clip, clip) for role, scores_B in scores.items()}
        return clipped | {function.name: self._paid(function, sequences) for function in self.functions}

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum that training raises, [B]."""
        total = sum(function.config.weight * parts[function.name] for function in self.functions)
        if self.heads:
            total = total + self.config.reward_weight * self._ensemble(
                torch.stack([parts[role] for role in self.heads])
            )
        assert isinstance(total, Tensor), "the config asks for at least one source"
        return total

    def _ensemble(self, scores_EB: Tensor) -> Tensor:
        """Coste et al. 2023: the mean trusts the members, the other two distrust what they quarrel about."""
        if self.config.ensemble == "min":
            return scores_EB.min(0).values
        if self.config.ensemble == "mean_less_variance":
            return scores_EB.mean(0) - self.config.variance_coef * scores_EB.var(0, correction=0)
        return scores_EB.mean(0)

    def _paid(self, function: Function, sequences: Sequences) -> Tensor:
        questions = [self.known[tuple(prompt)] for prompt in sequences.prompts]
        texts = [self.chat.decode(completion) for completion in sequences.completions]
        return paid(function, questions, texts)


def paid(function: Function, questions: Sequence[Question], texts: Sequence[str]) -> Tensor:
    """What one function gives for these answers, [B]; StageFailed where it raises, hangs or gives no finite numbers."""
    if function.call is None:
        checked = [
            question.check(text).get(function.config.function) for question, text in zip(questions, texts, strict=True)
        ]
        return torch.tensor([0.0 if value is None else value for value in checked])
    given = {
        "prompts": [list(question.messages) for question in questions],
        "completions": list(texts),
        "references": [question.reference for question in questions],
    }
    values = _within(function, given)
    try:
        values_B = torch.tensor([float(value) for value in values])
    except (TypeError, ValueError):
        raise _misbehaved(function, f"gave {_shortened(values)}, not a sequence of numbers") from None
    if len(values_B) != len(texts):
        raise _misbehaved(function, f"gave {len(values_B)} numbers for {len(texts)} answers")
    if not values_B.isfinite().all():
        place = int((~values_B.isfinite()).nonzero()[0])
        raise _misbehaved(function, f"gave {float(values_B[place])} for the answer {_shortened(texts[place])}")
    return values_B


def _within(function: Function, given: Mapping[str, Any]) -> Any:
    """The function's result, if it comes within the seconds allowed."""
    assert function.call is not None, "checks run in line"
    call, outcome = function.call, dict[str, Any]()

    def work() -> None:
        try:
            outcome["value"] = call(**given)
        except BaseException as error:  # whatever a stranger's code raises, sys.exit too, is told as its fault
            outcome["error"] = error

    # A thread cannot be killed; as a daemon it does not keep a failed stage from ending.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(function.config.timeout)
    if thread.is_alive():
        raise _misbehaved(function, f"took more than {function.config.timeout:g} s for {len(given['prompts'])} answers")
    if "error" in outcome:
        error = outcome["error"]
        raise _misbehaved(function, f"raised {type(error).__name__}: {error}") from error
    return outcome["value"]


def _misbehaved(function: Function, what: str) -> StageFailed:
    return StageFailed(
        f"the reward function '{function.config.function}' {what}",
        where=function.place,
        remedy="it takes prompts, completions and references by keyword, and gives one finite number a completion",
    )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def load_functions(config: Loop, questions: Sequence[Question]) -> list[Function]:
    """Find every function the recipe names, and try each on a few prompts before any training."""
    functions = [Function(name, _find(name, given), given) for name, given in config.reward_functions.items()]
    tried = questions[:TRIED]
    for function in functions:
        if function.call is None:
            _check_exists(function, questions)
        # An empty answer is one a policy can give, and so is a right one.
        paid(function, tried, ["" for _ in tried])
        paid(function, tried, [_right_answer(question.reference) for question in tried])
    return functions


def _right_answer(reference: Any) -> str:
    return reference if isinstance(reference, str) else json.dumps(reference, default=str)


def _find(name: str, given: RewardFunction) -> Paid | None:
    module, colon, attribute = given.function.partition(":")
    if not colon:
        return None
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a stranger's module raises
        raise RecipeError(
            f"'{given.function}' cannot be loaded ({type(error).__name__}: {error})",
            where=f"reward_functions.{name}.function",
            remedy="write package.module:function, importable from the working directory",
        ) from None
    if not callable(found):
        raise RecipeError(f"'{given.function}' is no function", where=f"reward_functions.{name}.function")
    return found  # type: ignore[no-any-return]


def _check_exists(function: Function, questions: Sequence[Question]) -> None:
    """RecipeError unless every prompt has a check of the function's name: the others' answers would all be wrong."""
    checks = [question.check("").keys() for question in questions]
    lacking = sum(function.config.function not in own for own in checks)
    if lacking:
        known = {check for own in checks for check in own}
        raise RecipeError(
            f"{lacking} of {len(questions)} prompts have no check '{function.config.function}'",
            where=f"{function.place}.function",
            remedy=f"known here: {', '.join(sorted(known)) or 'none: name a task in the data source'}; "
            "or write package.module:function",
        )
