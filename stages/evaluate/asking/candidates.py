"""Who is compared: the recipe's policies asked plainly, then each baseline, a policy or a server asked in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.contract import Artifact, Context
from pipeline.errors import DataError, RecipeError, nearest
from stages.evaluate.config import Baseline, Config
from stages.evaluate.foretold import unpriced

PLAIN = Baseline.model_construct()  # the question as it is: what no baseline in a recipe may say


@dataclass(frozen=True)
class Candidate:
    """Somebody who answers, and how they are asked; without a policy it is the endpoint of its way."""

    name: str
    policy: Artifact | None
    way: Baseline

    @property
    def is_plain(self) -> bool:
        """Whether it gets the question and nothing else."""
        return self.way is PLAIN


def candidates(config: Config, context: Context) -> list[Candidate]:
    """The plain ones in the recipe's order, then "base + few_shot" for each policy of each baseline."""
    policies = context.inputs["candidates"]
    found = [Candidate(policy.name, policy, PLAIN) for policy in policies]
    for name, way in config.baselines.items():
        found += _asked_so(name, way, policies)
        if way.best_of > 1 and not context.inputs.get("reward"):
            raise RecipeError(
                f"best_of {way.best_of} needs a reward model to pick the answer",
                where=f"evaluate.baselines.{name}",
                remedy="name one: reward: rm",
            )
    _check_names(found)
    _check_prices(config, found)
    return found


def _asked_so(name: str, way: Baseline, policies: Sequence[Artifact]) -> Iterator[Candidate]:
    if way.endpoint is not None:
        yield Candidate(name, None, way)
        return
    by_name = {policy.name: policy for policy in policies}
    named = (way.policies,) if isinstance(way.policies, str) else way.policies or (policies[0].name,)
    for policy in named:
        if policy not in by_name:
            raise RecipeError(
                f"'{policy}' is not among the candidates",
                where=f"evaluate.baselines.{name}.policies",
                remedy=nearest(policy, by_name),
            )
        yield Candidate(f"{policy} + {name}", by_name[policy], way)


def _check_names(found: Sequence[Candidate]) -> None:
    """Names tell candidates apart in every table; in a script those of policies are the folders' last parts."""
    names = [candidate.name for candidate in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"two candidates are called '{twice[0]}'",
            where="evaluate.candidates",
            remedy="name each once, give their folders different names, and no baseline the name of a candidate",
        )


def _check_prices(config: Config, found: Sequence[Candidate]) -> None:
    if wrong := unpriced(config.prices, [candidate.name for candidate in found]):
        raise RecipeError(f"no candidate is called '{wrong[0]}'", where="evaluate.prices", remedy=wrong[1])
