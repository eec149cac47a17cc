"""The trained policy against its reference, on held-out prompts, sampled as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.contract import Context, Plot, Point, Result, Samples, Table
from stages.evaluate.answers import (
    Answers,
    Figures,
    Question,
    as_lines,
    ask,
    before_after,
    difference_interval,
    heldout_questions,
    kl_to_reference,
    mean_interval,
    measure,
    with_interval,
)
from stages.ppo.config import Loop
from stages.ppo.experience import POLICY, REFERENCE, Models


def evaluate(config: Loop, context: Context, models: Models) -> Result:
    """Proxy score, KL, and what a program can check: before and after, with paired intervals."""
    questions = heldout_questions(context.data["data"], models.chat, config.eval_prompts, context.seed)
    if not questions:
        return Result({})
    answers = {
        role: ask(
            models.backbone,
            role,
            models.chat,
            questions,
            context,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
        )
        for role in (REFERENCE, POLICY)
    }
    figures = {
        role: {**_paid(models, questions, given), **measure(questions, given)} for role, given in answers.items()
    }
    kl = kl_to_reference(models.backbone, POLICY, REFERENCE, questions, answers[POLICY], config.temperature)
    names = (context.artifact("reference").name, config.algorithm)
    rows = [before_after(name, figures[REFERENCE][name], figures[POLICY][name]) for name in figures[POLICY]]
    rows.append(["KL to the reference (nats an answer)", None, with_interval(mean_interval(kl)), None])
    note = (
        f"{len(questions)} held-out prompts, one answer each, sampled at temperature {config.temperature:g}; 95% "
        "bootstrap intervals. The proxy score is what training raised: it is no proof of quality"
    )
    columns = ["held-out figure", *names, "difference"]
    table = Table(f"Held-out, before and after {config.algorithm}", columns, rows, note)
    shown = _samples(config, names, questions[: config.num_shown], answers, figures)
    return Result(_metrics(figures, kl), [table, shown], as_lines(rows))


def _metrics(figures: Mapping[str, Figures], kl: Sequence[float]) -> dict[str, float]:
    own, gain = figures[POLICY], difference_interval(figures[POLICY]["proxy score"], figures[REFERENCE]["proxy score"])
    return {
        **{f"heldout/{name.replace(' ', '_')}": mean_interval(values)[0] for name, values in own.items()},
        "heldout/proxy_gain": gain[0],
        "heldout/proxy_gain_low": gain[1],
        "heldout/proxy_gain_high": gain[2],
        "heldout/kl": mean_interval(kl)[0],
    }


def _samples(
    config: Loop,
    names: Sequence[str],
    questions: Sequence[Question],
    answers: Mapping[str, Answers],
    figures: Mapping[str, Figures],
) -> Samples:
    rows = [
        {
            "prompt": question.text,
            "answers": [answers[role].texts[i] for role in (REFERENCE, POLICY)],
            "scores": [figures[role]["proxy score"][i] for role in (REFERENCE, POLICY)],
        }
        for i, question in enumerate(questions)
    ]
    title = f"Sampled answers before and after {config.algorithm}"
    return Samples(title, names, rows, "Scores are the proxy's.")


def reward_against_kl(history: Sequence[Mapping[str, float]]) -> list[Plot]:
    """What each iteration's answers scored, by how far they were from the reference (Gao et al. 2023, figure 1).

    A second curve of a reward model that nothing optimises shows where the first one stops meaning anything.
    """
    scored = {"objective/scores": "Proxy score against KL", "objective/check_scores": "Check score against KL"}
    return [
        Plot(
            title,
            "KL to the reference (nats an answer)",
            "mean score of the iteration's answers",
            [Point(f"iteration {n}", found["objective/kl"], found[name]) for n, found in enumerate(history, 1)],
            joined=True,
        )
        for name, title in scored.items()
        if len(history) > 1 and all(name in found for found in history)
    ]


def _paid(models: Models, questions: list[Question], answers: Answers) -> Figures:
    """The reward that training raised, and where it has several sources each of them."""
    rewards = replace(models.rewards, known={tuple(question.ids): question for question in questions})
    parts = rewards.parts(models.backbone, answers.sequences(questions))
    apart = {f"reward {name}": values.tolist() for name, values in parts.items()} if len(parts) > 1 else {}
    return {"proxy score": rewards.total(parts).tolist(), **apart}
