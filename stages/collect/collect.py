"""What people are asked to rank: several policies' answers to each prompt, as a blind batch of tasks.

From policies and prompts to tasks, assignments and a secret key; people's rankings come back by `posttune collect
import`, and a data source `{from: collect}` reads them as comparisons. Answers that are cut off are left out, as in
`sample`, and equal ones are merged: nobody can rank a text against itself. With `select: disagreement` nothing is
sampled: what people have differed on is asked once more.

Alone: `posttune run recipes/people.yaml collect`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.contract import Context, Result, Table
from pipeline.errors import DataError
from stages.agreement.select import Candidate, Selected, select
from stages.annotation.batch import Batch, write_batch
from stages.checkpoint.streams import permutation
from stages.collect.config import Config
from stages.collect.tasks import Question, build
from stages.formats.inputs import read_input
from stages.formats.records import Comparison, Prompt
from stages.formats.rules import filled
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.rollout.generate import Completion
from stages.rollout.score import normalised_scores
from stages.rollout.sequences import Sequences
from stages.sample.draw import Sampling, draw, read_prompts, texts_of


def run(config: Config, context: Context) -> Result:
    """Sample, choose, deal out, and publish the batch."""
    questions, num_left_out = _differed_on(config, context) if config.earlier else _answered(config, context)
    if not questions:
        raise DataError(
            f"none of {num_left_out} prompts gives a task: two different completions are needed",
            where="collect",
            remedy="raise max_new_tokens, num_samples_per_prompt or temperature, or name another policy",
        )
    gold = [_gold(record) for record in read_input(context, "gold", "comparison", "all")] if config.gold else []
    batch = build(config, questions, gold, context.seed)
    write_batch(context.output, batch)
    return _report(config, batch, num_left_out)


def _answered(config: Config, context: Context) -> tuple[list[Question], int]:
    """The policies' completions of the chosen prompts, and how many prompts have no two that differ."""
    chat = load_chat(context.model)
    # A gap can only be told once the answers are there; a random choice saves the sampling of the others.
    prompts = read_prompts(context, config.num_tasks if config.select == "random" else None, "collect")
    backbone = open_backbone(context.model)
    policies = [artifact.name for artifact in context.inputs["policies"]]
    for artifact in context.inputs["policies"]:
        backbone.load(artifact.name, artifact)
    how = Sampling(config.num_samples_per_prompt, config.temperature, config.max_new_tokens, config.batch_size)
    drawn = draw(context, backbone, chat, prompts, policies=policies, sampling=how, saving=config)
    questions = [
        _question(config, context, chat, prompt, [own[place] for own in drawn]) for place, prompt in enumerate(prompts)
    ]
    fit = [question for question in questions if len(question.texts) > 1]
    num_left_out = len(questions) - len(fit)
    return _widest(config, context, backbone, chat, fit) if config.select == "gap" else fit, num_left_out


def _question(
    config: Config, context: Context, chat: Chat, prompt: Prompt, drawn: Sequence[Sequence[Completion]]
) -> Question:
    """All different finished answers to a prompt, or as many at random as a task may show."""
    origins: dict[str, list[dict[str, Any]]] = {}
    for artifact, completions in zip(context.inputs["policies"], drawn, strict=True):
        for index, completion in enumerate(completions):
            for text in filter(is_readable, texts_of(chat, [completion])):
                wrote = {"policy": artifact.name, "policy_digest": artifact.digest, "sample_index": index}
                how = {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens}
                origins.setdefault(text, []).append({**wrote, "sampling": how, "num_tokens": len(completion.ids)})
    texts = list(origins)
    if config.select != "gap" and len(texts) > config.num_completions:
        order = permutation(len(texts), context.seed, "collect", prompt.prompt_key)
        texts = [texts[i] for i in sorted(order[: config.num_completions])]
    return Question(prompt.id, prompt.prompt, tuple(texts), tuple(tuple(origins[text]) for text in texts))


def is_readable(text: str) -> bool:
    """Whether a row may hold it: nobody should rank what cannot be learnt from."""
    try:
        return bool(filled(text, "completion"))
    except DataError:
        return False


def _widest(
    config: Config, context: Context, backbone: Backbone, chat: Chat, questions: Sequence[Question]
) -> list[Question]:
    """The questions whose answers the reward model puts furthest apart, with the two at the ends of each."""
    reward = context.artifact("reward")
    assert reward.path is not None, "a reward model is always a published artifact"
    chat.check_same(reward)
    backbone.load("reward", reward)
    rows = [(question.messages, text) for question in questions for text in question.texts]
    sequences = Sequences([chat.prompt_ids(m) for m, _ in rows], [chat.completion_ids(m, text) for m, text in rows])
    head = ScalarHead.load(reward.path, backbone.hidden_size).to(backbone.device)
    flat = iter(normalised_scores(backbone, "reward", head, sequences).tolist())
    candidates = [
        Candidate(
            str(place), length=len(question.messages[-1]["content"]), means=tuple(next(flat) for _ in question.texts)
        )
        for place, question in enumerate(questions)
    ]
    return _chosen(config, context, questions, candidates)


def _differed_on(config: Config, context: Context) -> tuple[list[Question], int]:
    """Comparisons on which two or more people do not agree, and some at random; and how many have one text only."""
    records: list[Comparison] = read_input(context, "earlier", "comparison", "all")
    questions, candidates = [], []
    for record in records:
        texts, places = _different(record)
        if len(texts) > 1:
            rankings = tuple(replace(r, ranks=tuple(r.ranks[i] for i in places)) for r in record.rankings)
            candidates.append(Candidate(str(len(questions)), rankings=rankings))
            questions.append(Question(record.id, record.prompt, texts, tuple(({"earlier": record.id},) for _ in texts)))
    return _chosen(config, context, questions, candidates), len(records) - len(questions)


def _different(record: Comparison) -> tuple[tuple[str, ...], list[int]]:
    """Each text once, and its first place among the completions: equal ones have equal ranks, formats see to it."""
    texts = tuple(dict.fromkeys(record.completions))
    return texts, [record.completions.index(text) for text in texts]


def _chosen(
    config: Config, context: Context, questions: Sequence[Question], candidates: Sequence[Candidate]
) -> list[Question]:
    found = select(candidates, config.num_tasks or len(candidates), config.select, context.seed)
    return [_as_selected(config, context, questions[int(one.key)], one) for one in found]


def _as_selected(config: Config, context: Context, question: Question, selected: Selected) -> Question:
    """The completions that the strategy chose, or as many at random as a task may show; the key says how."""
    places = list(selected.completions or range(len(question.texts)))
    if len(places) > config.num_completions and not config.earlier:  # who is asked again is asked the same
        order = permutation(len(places), context.seed, "collect", question.id)
        places = sorted(places[i] for i in order[: config.num_completions])
    return replace(
        question,
        texts=tuple(question.texts[i] for i in places),
        origins=tuple(question.origins[i] for i in places),
        chosen={"by": selected.by, "propensity": selected.propensity, "score": selected.score},
    )


def _gold(record: Comparison) -> Question:
    """A comparison whose order is known: of several rankings the first stands for it."""
    texts, places = _different(record)
    ranks = tuple(record.rankings[0].ranks[i] for i in places)
    return Question(record.id, record.prompt, texts, tuple(({"gold": record.id},) for _ in texts), ranks)


def _report(config: Config, batch: Batch, num_left_out: int) -> Result:
    kinds = Counter(line["kind"] for line in batch.key.values())
    normal = [task for task in batch.tasks if batch.key[task.task_id]["kind"] == "normal"]
    times = Counter(one.task_id for one in batch.assignments if one.kind == "normal")
    several = sum(count > 1 for count in times.values())
    by_name = {name: Counter(a.kind for a in batch.assignments if a.annotator == name) for name in config.annotators}
    rows = [[name, *(by_name[name][kind] for kind in ("normal", "gold", "repeat"))] for name in config.annotators]
    sizes = Counter(len(task.completions) for task in normal)
    shown = ", ".join(f"{count} of {size} answers" for size, count in sorted(sizes.items()))
    note = f"{len(normal)} tasks ({shown}), {several} of them for several people; gold and repeats look like any other."
    table = Table(f"Batch {batch.batch_id}", ["annotator", "tasks", "gold", "repeats"], rows, note)
    metrics = {
        "collect/num_tasks": float(len(normal)),
        "collect/num_overlapping": float(several),
        "collect/num_gold": float(kinds["gold"]),
        "collect/num_left_out": float(num_left_out),
    }
    left_out = f"; {num_left_out} prompts give no task" if num_left_out else ""
    return Result(metrics, [table], [f"batch {batch.batch_id}: {note}{left_out}"])
