"""Candidates side by side on held-out prompts: what a program can check, and what reward models say.

Every candidate answers the same prompts with the same limits, asked in its own way (candidates.py, prompting.py), from
one load of the shared base. Each figure has a 95% bootstrap interval over prompts; differences are paired with the
first candidate.

Alone: `posttune run recipes/quickstart.yaml evaluate`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.contract import Context, Result, Samples, Table
from pipeline.errors import DataError
from stages.evaluate.answers import (
    Answers,
    Question,
    difference_interval,
    heldout_questions,
    kl_to_reference,
    mean_interval,
    measure,
    with_interval,
)
from stages.evaluate.asking import Desk, ask_all, load_policies, role_of, said_of
from stages.evaluate.candidates import Candidate, candidates
from stages.evaluate.config import Config
from stages.evaluate.prompting import gather
from stages.evaluate.reward_models import RewardModel, load_reward_models
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import load_chat

Figures = dict[str, list[float | None]]  # a figure's value for each question
ANSWERS = "answers.jsonl"  # in the artifact: a row a question, with every candidate's answer


def run(config: Config, context: Context) -> Result:
    """Let every candidate answer, measure, and lay the results side by side."""
    chat = load_chat(context.model)
    questions = heldout_questions(context.data["data"], chat, config.max_prompts, context.seed)
    if not questions:
        raise DataError("there are no held-out prompts", where="evaluate.data", remedy="raise heldout_fraction")
    compared = candidates(config, context)
    material = gather(config, context, questions)
    backbone = open_backbone(context.model)
    load_policies(backbone, compared)
    judges = load_reward_models(context, backbone, chat)

    desk = Desk(config, context, backbone, chat, questions, material)
    answers, silent = ask_all(desk, compared, judges[0] if judges else None)
    compared = [candidate for candidate in compared if candidate.name in answers]
    figures: dict[str, Figures] = {}
    with context.progress("judging", len(compared)) as advance:
        for candidate in compared:
            figures[candidate.name] = _figures(backbone, questions, answers[candidate.name], judges)
            advance(1)
    _add_win_rates(figures, judges)
    _add_kl(context, backbone, questions, compared, answers, figures)
    _save(context, questions, answers, figures)
    return _result(config, questions, answers, figures, judges, _baselines(context, list(figures)), said_of(silent))


def _figures(
    backbone: Backbone, questions: Sequence[Question], answers: Answers, judges: Sequence[RewardModel]
) -> Figures:
    figures = measure(questions, answers)
    sequences = answers.sequences(questions)
    for judge in judges:
        figures[judge.name] = list(judge.scores(backbone, sequences))
    return figures


def _add_win_rates(figures: Mapping[str, Figures], judges: Sequence[RewardModel]) -> None:
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
    compared: Sequence[Candidate],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
) -> None:
    """KL of policy to reference over the vocabulary, summed along the policy's own plain answers, nats.

    A baseline's answers follow another prompt, where the distance to the reference is another thing.
    """
    if not context.inputs.get("reference"):
        return
    reference = context.artifact("reference")
    plain = [candidate for candidate in compared if candidate.is_plain]
    known = [role_of(candidate) for candidate in plain if candidate.name == reference.name]
    role = known[0] if known else "reference"
    if not known:
        backbone.load(role, reference)
    for candidate in plain:
        kl = kl_to_reference(backbone, role_of(candidate), role, questions, answers[candidate.name])
        figures[candidate.name]["KL to " + reference.name] = kl


def _save(
    context: Context,
    questions: Sequence[Question],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
) -> None:
    """All answers with what was measured of each, so that every figure of the report can be worked out again."""
    with (context.output / ANSWERS).open("w", encoding="utf-8") as stream:
        for i, question in enumerate(questions):
            row = {
                "id": question.id,
                "prompt": list(question.messages),
                "reference": question.reference,
                "answers": {
                    name: {
                        "text": own.texts[i],
                        "num_prompt_tokens": own.num_prompt_tokens[i],
                        "num_new_tokens": own.num_new_tokens[i],
                        "figures": {measure: values[i] for measure, values in figures[name].items()},
                    }
                    for name, own in answers.items()
                },
            }
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _result(
    config: Config,
    questions: Sequence[Question],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
    judges: Sequence[RewardModel],
    baselines: Sequence[str],
    missing: str,
) -> Result:
    names = list(figures)
    measures = list(dict.fromkeys(measure for own in figures.values() for measure in own))
    rows = [
        [m, *(with_interval(mean_interval(figures[n][m])) if m in figures[n] else None for n in names)]
        for m in measures
    ]
    metrics = {
        f"{name.replace(' + ', '+')}/{m.replace(' ', '_')}": mean_interval(own[m])[0]
        for name, own in figures.items()
        for m in own
    }
    how = "greedy" if config.temperature == 0 else f"sampled at temperature {config.temperature:g}"
    note = (
        f"{len(questions)} held-out prompts, {how}, at most {config.max_new_tokens} new tokens; 95% bootstrap "
        f"intervals over prompts. The proxy is the reward model that PPO optimised: read it beside the others{missing}"
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
    own = figures[baseline]
    shared = [m for m in own if any(m in figures[name] for name in others)]
    rows = [
        [m, *(with_interval(difference_interval(figures[n][m], own[m])) if m in figures[n] else None for n in others)]
        for m in shared
    ]
    return Table(f"Difference from {baseline}", ["figure", *others], rows, "Paired by prompt; 95% bootstrap intervals.")


def _shown(
    question: Question,
    index: int,
    names: Sequence[str],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
    judges: Sequence[RewardModel],
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
