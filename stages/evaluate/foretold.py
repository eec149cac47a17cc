"""What a recipe alone tells of an evaluation: who is compared, by what name, and which figures there can be.

Light, for the engine asks before anything is trained. The evaluation itself asks again once it has read its questions,
whose references decide which of a check's figures there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.contract import Check, Problem, TaskConfig
from pipeline.errors import nearest

if TYPE_CHECKING:
    from stages.evaluate.config import Config

# The figure of each of the config's reward models. The proxy is what PPO optimised, and what best-of-n picks by.
SCORES = {"reward": "proxy score", "second_reward": "second reward model's score"}
JUDGED = "win rate under the LLM judge"
# How a figure begins of which more is neither better nor worse; KL, since tuning is meant to go somewhere.
NEUTRAL = ("length", "KL to")
# Of each check. One that ends in "/" stands for as many as the references have fields.
CHECKED: Mapping[Check, Sequence[str]] = {
    "exact": ("exact",),
    "f1": ("f1",),
    "rouge": ("rouge",),
    "fields": ("field_accuracy", "field_f1", "field/"),
    "number": ("number_right",),
    "instructions": ("instructions_followed", "all_instructions_followed"),
    "supported": ("supported",),
}


def problem(config: Config, tasks: Sequence[TaskConfig]) -> Problem | None:
    """The first thing in the recipe that no data can mend; `tasks` are those of the sources of the questions."""
    for name, way in config.baselines.items():
        for policy in (way.policies,) if isinstance(way.policies, str) else way.policies or ():
            if policy not in config.candidates:
                remedy = nearest(policy, config.candidates)
                if remedy.startswith("known"):
                    remedy = f"add it to them, or name one of them: {', '.join(config.candidates)}"
                return Problem(("baselines", name, "policies"), f"'{policy}' is not among the candidates", remedy)
    compared = names(config)
    return _of_prices(config.prices, compared) or _of_primary(config, tasks, len(compared))


def names(config: Config) -> list[str]:
    """Everybody who answers, as the recipe calls them: asking/candidates.py makes the same of what a script gives."""
    found = list(config.candidates)
    for name, way in config.baselines.items():
        asked = (way.policies,) if isinstance(way.policies, str) else way.policies or config.candidates[:1]
        found += [name] if way.endpoint is not None else [f"{policy} + {name}" for policy in asked]
    return found


def unpriced(prices: Mapping[str, object], compared: Sequence[str]) -> tuple[str, str] | None:
    """A price for nobody, which would go unread while its candidate got the default one: its name, and a remedy."""
    known = ["default", *compared]
    return next(((name, nearest(name, known)) for name in prices if name not in known), None)


def figures_of_all(scores: Sequence[str], num_compared: int, references: Sequence[str], *, judged: bool) -> list[str]:
    """What is measured whatever the task: of each answer, of two candidates, and of the distance to a reference."""
    found = ["length", "ended", *scores]
    if num_compared > 1:
        found += [*map(win_rate, scores), *([JUDGED] if judged else [])]
    return [*found, *("KL to " + name for name in references)]


def win_rate(score: str) -> str:
    """The win rate under a reward model, by the name of its score."""
    return f"win rate under {score.removesuffix(' score')}"


def figures_of_task(task: TaskConfig) -> Iterator[str]:
    """Every figure that the task can give, if the references hold what it needs."""
    if task.json_schema is not None:
        yield "valid_json"
    if task.label_set is not None:
        yield from ("in_label_set", "label_accuracy")
    if task.labels:
        yield from ("label_accuracy", *(f"label_accuracy/{field}" for field in task.labels))
    for check in task.checks:
        yield from CHECKED[check]


def _of_prices(prices: Mapping[str, object], compared: Sequence[str]) -> Problem | None:
    if (found := unpriced(prices, compared)) is None:
        return None
    return Problem(("prices", found[0]), f"no candidate is called '{found[0]}'", found[1])


def _of_primary(config: Config, tasks: Sequence[TaskConfig], num_compared: int) -> Problem | None:
    wanted = config.primary
    if wanted is None:
        return None
    scores = [label for field, label in SCORES.items() if getattr(config, field) is not None]
    if config.reward == config.second_reward:
        scores = scores[1:]  # the recipe's only one is no proxy where it is named as the second
    references = [] if config.reference is None else [config.reference]
    known = [
        *(figure for task in tasks for figure in figures_of_task(task)),
        *figures_of_all(scores, num_compared, references, judged=config.judge is not None),
    ]
    able = [figure for figure in known if not figure.startswith(NEUTRAL)]
    if any(wanted == figure or (figure.endswith("/") and wanted.startswith(figure)) for figure in able):
        return None
    found = "more of '{}' is neither better nor worse" if wanted in known else "no candidate can have the figure '{}'"
    return Problem(("primary",), found.format(wanted), nearest(wanted, able))
