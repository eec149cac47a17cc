"""Candidates side by side on held-out prompts: was tuning worth it, and against what?

Every candidate answers the same prompts with the same limits, asked in its own way (asking/), from one load of the
shared base. Then: what is measured of the answers (measuring/, checks/), what tuning broke (measuring/forgetting.py),
what a call costs (cost/), and the verdict (verdict/).

Alone: `posttune run recipes/quickstart.yaml evaluate`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.contract import Context, Result
from pipeline.errors import DataError
from stages.evaluate.answers import Answers, Figures, Question, heldout_questions
from stages.evaluate.asking.candidates import Candidate, candidates
from stages.evaluate.asking.desk import Desk, ask_all, load_policies, role_of, write_prompts
from stages.evaluate.asking.prompting import gather
from stages.evaluate.config import Config
from stages.evaluate.cost.costs import costs_of
from stages.evaluate.measuring.forgetting import Forgetting, Texts, forgetting, general_texts
from stages.evaluate.measuring.measuring import figures_to_come, measured
from stages.evaluate.measuring.reward_models import load_reward_models
from stages.evaluate.report import ANSWERS, Evaluation, report
from stages.evaluate.verdict.primary import check_primary
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import load_chat


def run(config: Config, context: Context) -> Result:
    """Let every candidate answer, measure, and lay the results side by side."""
    chat = load_chat(context.model)
    questions = heldout_questions(context.data["data"], chat, config.max_prompts, context.seed)
    if not questions:
        raise DataError("there are no held-out prompts", where="evaluate.data", remedy="raise heldout_fraction")
    compared = candidates(config, context)
    if config.primary is not None:
        check_primary(config.primary, figures_to_come(config, context, compared, questions))
    material, general = gather(config, context, questions), general_texts(context, chat)
    backbone = open_backbone(context.model)
    load_policies(backbone, compared)
    judges = load_reward_models(context, backbone, chat)

    desk = Desk(config, context, backbone, chat, questions, material)
    prompts = write_prompts(desk, compared)
    answers, left_out = ask_all(desk, compared, prompts, judges[0] if judges else None)
    compared = [candidate for candidate in compared if candidate.name in answers]
    found = measured(desk, compared, answers, judges)
    _save(context, questions, answers, found.figures)
    costs = costs_of(desk, compared, prompts, answers)
    forgotten = _forgotten(desk, compared, answers, general)
    reference = next((artifact.name for artifact in context.inputs.get("reference", ())), None)
    return report(config, Evaluation(questions, compared, answers, found, costs, forgotten, reference, left_out))


def _forgotten(
    desk: Desk, compared: Sequence[Candidate], answers: Mapping[str, Answers], general: Sequence[Texts]
) -> Forgetting:
    """What the plain candidates make of `general`."""
    plain = [candidate for candidate in compared if candidate.is_plain]
    return forgetting(
        desk.backbone,
        desk.chat,
        desk.context,
        desk.config,
        general,
        roles={candidate.name: role_of(candidate) for candidate in plain},
        own={candidate.name: answers[candidate.name].sequences(desk.questions) for candidate in plain},
    )


def _save(
    context: Context, questions: Sequence[Question], answers: Mapping[str, Answers], figures: Mapping[str, Figures]
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
                        "figures": {figure: values[i] for figure, values in figures[name].items()},
                    }
                    for name, own in answers.items()
                },
            }
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
