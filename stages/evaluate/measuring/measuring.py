"""What is measured of every answer: checks, reward models' scores, win rates, the LLM judge, KL to the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.contract import Context, Table
from stages.evaluate.answers import Answers, Figures, Question, kl_to_reference, measure
from stages.evaluate.asking.candidates import Candidate
from stages.evaluate.asking.desk import Desk, paid, role_of
from stages.evaluate.checks.fitting import misfits
from stages.evaluate.config import Config
from stages.evaluate.foretold import JUDGED, figures_of_all, win_rate
from stages.evaluate.measuring.judge import judge_against_first
from stages.evaluate.measuring.reward_models import RewardModel, scored_by


@dataclass(frozen=True)
class Measured:
    """A figure's value for each question, by candidate; what the judge's are worth; and what should be known of all."""

    figures: dict[str, Figures]
    tables: list[Table] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def measured(
    desk: Desk, compared: Sequence[Candidate], answers: Mapping[str, Answers], judges: Sequence[RewardModel]
) -> Measured:
    """Everything that the recipe asks to be measured of the answers."""
    found = Measured({}, remarks=misfits(desk.questions))
    for remark in found.remarks:
        desk.context.say(remark)
    with desk.context.progress("judging", len(compared)) as advance:
        for candidate in compared:
            own = answers[candidate.name]
            figures = measure(desk.questions, own)
            for judge in judges:
                figures[judge.name] = list(judge.scores(desk.backbone, own.sequences(desk.questions)))
            found.figures[candidate.name] = figures
            advance(1)
    _add_win_rates(found.figures, judges)
    _add_kl(desk, compared, answers, found.figures)
    _add_judge(desk, answers, found)
    return found


def figures_to_come(
    config: Config, context: Context, compared: Sequence[Candidate], questions: Sequence[Question]
) -> list[str]:
    """The figures that `measured` will find, told before anybody is asked: a check's never depend on the answer."""
    found = list(dict.fromkeys(name for question in questions for name in question.check("")))
    references = [artifact.name for artifact in context.inputs.get("reference", ())]
    judged = config.judge is not None
    return [*found, *figures_of_all(list(scored_by(context)), len(compared), references, judged=judged)]


def _add_win_rates(figures: Mapping[str, Figures], judges: Sequence[RewardModel]) -> None:
    """How often a candidate's answer scores above the first candidate's; a tie counts half."""
    first = next(iter(figures.values()))
    for judge in judges:
        for name, own in figures.items():
            if own is not first:
                pairs = zip(own[judge.name], first[judge.name], strict=True)
                wins = [0.5 if a == b else float(a > b) for a, b in pairs]  # type: ignore[operator]
                figures[name][win_rate(judge.name)] = wins  # type: ignore[assignment]


def _add_kl(
    desk: Desk, compared: Sequence[Candidate], answers: Mapping[str, Answers], figures: Mapping[str, Figures]
) -> None:
    """KL of policy to reference over the vocabulary, summed along the policy's own plain answers, nats.

    A baseline's answers follow another prompt, where the distance to the reference is another thing.
    """
    if not desk.context.inputs.get("reference"):
        return
    reference = desk.context.artifact("reference")
    plain = [candidate for candidate in compared if candidate.is_plain]
    known = [role_of(candidate) for candidate in plain if candidate.name == reference.name]
    role = known[0] if known else "reference"
    if not known:
        desk.backbone.load(role, reference)
    for candidate in plain:
        kl = kl_to_reference(desk.backbone, role_of(candidate), role, desk.questions, answers[candidate.name])
        figures[candidate.name]["KL to " + reference.name] = kl


def _add_judge(desk: Desk, answers: Mapping[str, Answers], found: Measured) -> None:
    """The LLM judge's points; one that cannot be used costs its own figures only."""
    if desk.config.judge is None or len(answers) < 2:
        return
    texts = {name: own.texts for name, own in answers.items()}
    points, table = judge_against_first(desk.config.judge, desk.questions, texts, desk.context, paid(desk.context))
    for name, own in points.items():
        found.figures[name][JUDGED] = own
    found.tables.append(table)
