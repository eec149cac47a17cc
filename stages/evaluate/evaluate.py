"""Candidates side by side on held-out prompts: what a program can check, and what reward models say.

Every candidate answers the same prompts with the same limits from one load of the shared base. Each figure
has a 95% bootstrap interval over prompts; differences are paired with the first candidate.

Alone: `posttune run recipes/quickstart.yaml evaluate`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.contract import Artifact, Context, Result, Samples, Table
from pipeline.errors import DataError
from stages.evaluate.answers import (
    Answers,
    Question,
    ask,
    difference_interval,
    heldout_questions,
    kl_to_reference,
    mean_interval,
    measure,
    with_interval,
)
from stages.evaluate.config import Config
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.rollout.score import normalised_scores

Figures = dict[str, list[float | None]]  # a figure's value for each question


@dataclass(frozen=True)
class Judge:
    """A reward model that scores answers; scores are in its own normalised units."""

    name: str  # as the report calls its figure
    role: str
    head: ScalarHead


def run(config: Config, context: Context) -> Result:
    """Let every candidate answer, measure, and lay the results side by side."""
    chat = load_chat(context.model)
    questions = heldout_questions(context.data["data"], chat, config.max_prompts, context.seed)
    if not questions:
        raise DataError("there are no held-out prompts", where="evaluate.data", remedy="raise heldout_fraction")
    candidates = context.inputs["candidates"]
    _check_names(candidates)
    backbone = open_backbone(context.model)
    for candidate in candidates:
        backbone.load(_role(candidate), candidate)
    judges = _load_judges(context, backbone, chat)

    answers = {
        c.name: ask(
            backbone,
            _role(c),
            chat,
            questions,
            context,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            batch_size=config.batch_size,
        )
        for c in candidates
    }
    figures: dict[str, Figures] = {}
    with context.progress("judging", len(candidates)) as advance:
        for candidate in candidates:
            figures[candidate.name] = _figures(backbone, questions, answers[candidate.name], judges)
            advance(1)
    _add_win_rates(figures, judges)
    _add_kl(context, backbone, questions, candidates, answers, figures)
    return _result(config, questions, answers, figures, judges, _baselines(context, list(figures)))


def _check_names(candidates: Sequence[Artifact]) -> None:
    """Names tell candidates apart in every table; in a script they are the folders' last parts."""
    names = [candidate.name for candidate in candidates]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"two candidates are called '{twice[0]}'",
            where="evaluate.candidates",
            remedy="name each once, and give their folders different names",
        )


def _role(artifact: Artifact) -> str:
    """Adapter names may hold no dots, stage names may."""
    return "candidate_" + artifact.name.replace(".", "_")


def _load_judges(context: Context, backbone: Backbone, chat: Chat) -> list[Judge]:
    judges = []
    for field, label in (("reward", "proxy score"), ("second_reward", "second reward model's score")):
        for artifact in context.inputs.get(field, ()):
            assert artifact.path is not None, "a reward model is always a published artifact"
            chat.check_same(artifact)
            backbone.load(f"judge_{field}", artifact)
            head = ScalarHead.load(artifact.path, backbone.hidden_size).to(backbone.device)
            judges.append(Judge(label, f"judge_{field}", head))
    return judges


def _figures(backbone: Backbone, questions: Sequence[Question], answers: Answers, judges: Sequence[Judge]) -> Figures:
    figures = measure(questions, answers)
    sequences = answers.sequences(questions)
    for judge in judges:
        figures[judge.name] = normalised_scores(backbone, judge.role, judge.head, sequences).tolist()
    return figures


def _add_win_rates(figures: Mapping[str, Figures], judges: Sequence[Judge]) -> None:
    """How often a candidate's answer scores above the first candidate's; a tie counts half."""
    first = next(iter(figures.values()))
    for judge in judges:
        for name, own in figures.items():
            if own is not first:
                pairs = zip(own[judge.name], first[judge.name], strict=True)
                wins = [0.5 if a == b else float(a > b) for a, b in pairs]  # type: ignore[operator]
                figures[name][f"win rate under {judge.name.removesuffix(' score')}"] = wins  # type: ignore[assignment]


def _add_kl(
    context: Context,
    backbone: Backbone,
    questions: Sequence[Question],
    candidates: Sequence[Artifact],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
) -> None:
    """KL of candidate to reference over the vocabulary, summed along the candidate's own answers, nats."""
    if not context.inputs.get("reference"):
        return
    reference = context.artifact("reference")
    known = [_role(c) for c in candidates if c.name == reference.name]
    role = known[0] if known else "reference"
    if not known:
        backbone.load(role, reference)
    for candidate in candidates:
        kl = kl_to_reference(backbone, _role(candidate), role, questions, answers[candidate.name])
        figures[candidate.name]["KL to " + reference.name] = kl


def _result(
    config: Config,
    questions: Sequence[Question],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
    judges: Sequence[Judge],
    baselines: Sequence[str],
) -> Result:
    names = list(figures)
    measures = list(dict.fromkeys(measure for own in figures.values() for measure in own))
    rows = [
        [m, *(with_interval(mean_interval(figures[n][m])) if m in figures[n] else None for n in names)]
        for m in measures
    ]
    metrics = {f"{name}/{m.replace(' ', '_')}": mean_interval(own[m])[0] for name, own in figures.items() for m in own}
    how = "greedy" if config.temperature == 0 else f"sampled at temperature {config.temperature:g}"
    note = (
        f"{len(questions)} held-out prompts, {how}, at most {config.max_new_tokens} new tokens; 95% bootstrap "
        "intervals over prompts. The proxy is the reward model that PPO optimised: read it beside the others"
    )
    shown = [_shown(q, i, names, answers, figures, judges) for i, q in enumerate(questions[: config.num_shown])]
    fragments = [Table("Candidates on held-out prompts", ["figure", *names], rows, note)]
    differences = [_differences(figures, baseline) for baseline in baselines]
    samples = Samples(
        "Held-out prompts and answers", names, shown, f"{judges[0].name} under each answer." if judges else ""
    )
    summary = _aligned(fragments[0]) + [line for table in differences[-1:] for line in ["", *_aligned(table)]]
    return Result(metrics, [*fragments, *differences, samples], summary)


def _baselines(context: Context, names: list[str]) -> list[str]:
    """What the others are compared with: the first candidate, and the reference where it is another candidate."""
    if len(names) < 2:
        return []
    reference = [artifact.name for artifact in context.inputs.get("reference", ()) if artifact.name in names[1:]]
    return [names[0], *reference]


def _differences(figures: Mapping[str, Figures], baseline: str) -> Table:
    others = [name for name in figures if name != baseline]
    shared = [m for m in figures[baseline] if all(m in figures[name] for name in others)]
    rows = [
        [m, *(with_interval(difference_interval(figures[n][m], figures[baseline][m])) for n in others)] for m in shared
    ]
    return Table(f"Difference from {baseline}", ["figure", *others], rows, "Paired by prompt; 95% bootstrap intervals.")


def _shown(
    question: Question,
    index: int,
    names: Sequence[str],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
    judges: Sequence[Judge],
) -> dict[str, object]:
    row: dict[str, object] = {"prompt": question.text, "answers": [answers[name].texts[index] for name in names]}
    if judges:
        row["scores"] = [figures[name][judges[0].name][index] for name in names]
    if question.reference is not None:
        row["reference"] = str(question.reference)
    return row


def _aligned(table: Table) -> list[str]:
    """A table as lines for the terminal."""
    cells = [[table.columns[0], *table.columns[1:]], *[[str(cell or "-") for cell in row] for row in table.rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [table.title, *lines]
