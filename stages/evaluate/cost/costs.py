"""What each candidate's calls and training cost: tokens counted, speed measured here, prices of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.contract import Artifact
from stages.evaluate.answers import Answers
from stages.evaluate.asking.candidates import Candidate
from stages.evaluate.asking.desk import Desk, Prompts, role_of
from stages.evaluate.config import Baseline
from stages.evaluate.cost.calls import CallCost, call_cost, price_of, training_cost
from stages.evaluate.cost.speed import Speed, measure_speed

TIMED = "timed_base"  # a role of its own: a candidate outside the engine may be called base, and be none


@dataclass(frozen=True)
class Costs:
    """By candidate; whoever is missing has no such figure."""

    calls: dict[str, CallCost] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)


def costs_of(
    desk: Desk,
    compared: Sequence[Candidate],
    prompts: Mapping[str, Prompts],
    answers: Mapping[str, Answers],
    *,
    measure: Callable[..., Speed] = measure_speed,
) -> Costs:
    """Everybody's. A server's calls are counted in its own tokens and not timed: others ask it too."""
    found = Costs(speeds=_speeds(desk, compared, prompts, measure))
    for candidate in compared:
        _add(found, desk, candidate, answers[candidate.name])
    return found


def _speeds(
    desk: Desk, compared: Sequence[Candidate], prompts: Mapping[str, Prompts], measure: Callable[..., Speed]
) -> dict[str, Speed]:
    """Measured once for each way of asking: what differs between policies of one architecture is noise."""
    known: dict[Baseline, Speed] = {}
    found: dict[str, Speed] = {}
    with desk.context.progress("timing", len(compared)) as advance:
        for candidate in compared:
            if candidate.policy is not None:
                if candidate.way not in known:
                    role, limit = _timed_role(desk, candidate), desk.config.max_new_tokens
                    known[candidate.way] = measure(desk.backbone, role, desk.chat, prompts[candidate.name], limit)
                found[candidate.name] = known[candidate.way]
            advance(1)
    return found


def _timed_role(desk: Desk, candidate: Candidate) -> str:
    """Who is timed in a candidate's place: for a LoRA the base, which is as fast as the LoRA is once it is merged.

    Unmerged, as here, where one base serves all candidates, it takes longer, and would speak against tuning.
    """
    assert candidate.policy is not None, "a server's model is not timed"
    if candidate.policy.info.get("tuning") != "lora":
        return role_of(candidate)
    desk.backbone.load(TIMED, Artifact("base", "policy"))
    return TIMED


def _add(found: Costs, desk: Desk, candidate: Candidate, own: Answers) -> None:
    name, price = candidate.name, price_of(desk.config.prices, candidate.name)
    spent = candidate.policy.seconds if candidate.policy is not None else None
    if spent and (paid := training_cost(spent, price)) is not None:
        found.training[name] = paid
    asked = [count for count in own.num_prompt_tokens if count is not None]
    written = [count for count in own.num_new_tokens if count is not None]
    if asked and written:
        found.calls[name] = call_cost(asked, written, found.speeds.get(name), price)
