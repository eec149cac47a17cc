"""One round on the policy's own answers: sample several to each prompt and let a reward model rank them.

From a policy, a reward model and prompts to comparisons, which a later dpo or rm reads by `data: {x: {from: sample}}`
(on-policy rounds: Xu et al. 2023, "Some things are more cringe than others"; Guo et al. 2024). An answer becomes text
again, so one that was cut off is left out: as text it would look finished. So are repetitions. What is scored is the
text with its end-of-turn token, as the next stage will read it. Without a reward model the answers come unranked,
for people to rank.

Alone: `posttune run recipes/on-policy.yaml sample`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.contract import Context, Result
from pipeline.errors import DataError, Interrupted
from stages.checkpoint import state as checkpoint
from stages.checkpoint import store
from stages.checkpoint.streams import permutation
from stages.formats.inputs import read_input
from stages.formats.records import Prompt
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.rollout.generate import Completion, generate
from stages.rollout.score import normalised_scores
from stages.rollout.sequences import Sequences
from stages.sample.comparisons import Answered, write
from stages.sample.config import Config
from stages.sample.report import report

POLICY, REWARD = "policy", "reward"


def run(config: Config, context: Context) -> Result:
    """Sample, score, rank, and publish the comparisons."""
    chat = load_chat(context.model)
    prompts = _prompts(config, context)
    backbone = open_backbone(context.model)
    backbone.load(POLICY, context.artifact("policy"))
    drawn = _sample(config, context, backbone, chat, prompts)
    answered = [Answered(prompt, own, _texts(chat, own)) for prompt, own in zip(prompts, drawn, strict=True)]
    usable = [item for item in answered if len(item.texts) > 1]
    if not usable:
        raise DataError(
            f"none of {len(prompts)} prompts got two different answers that ended",
            where="sample",
            remedy=f"raise max_new_tokens (now {config.max_new_tokens}), num_samples_per_prompt or temperature",
        )
    usable = _scored(context, backbone, chat, usable)
    write(config, context, usable)
    return report(config, context, answered, usable)


def _prompts(config: Config, context: Context) -> list[Prompt]:
    """Each prompt once, of both sides of the split: the rows that are written will lie on their prompt's side."""
    unique: dict[str, Prompt] = {}
    for record in read_input(context, "data", "prompt", "all"):
        known = unique.get(record.prompt_key)
        if known is None or known.reference is None:
            unique[record.prompt_key] = record
    prompts = list(unique.values())
    if config.max_prompts is None or config.max_prompts >= len(prompts):
        return prompts
    chosen = permutation(len(prompts), context.seed, "sample", "prompts")[: config.max_prompts]
    return [prompts[i] for i in sorted(chosen)]


def _sample(
    config: Config, context: Context, backbone: Backbone, chat: Chat, prompts: Sequence[Prompt]
) -> list[list[Completion]]:
    """The answers to each prompt, from the newest checkpoint on; a batch holds prompts of like length."""
    ids = [chat.prompt_ids(prompt.prompt) for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda index: (len(ids[index]), index))
    batches = [order[start : start + config.batch_size] for start in range(0, len(order), config.batch_size)]
    count = config.num_samples_per_prompt
    saver = store.Saver(context.checkpoints, config)
    done, drawn = _resume(context, backbone)
    with context.progress("prompts", len(prompts)) as advance:
        advance(sum(len(batch) for batch in batches[:done]))
        for number, batch in list(enumerate(batches))[done:]:
            drawn += generate(
                backbone,
                POLICY,
                chat,
                [ids[index] for index in batch for _ in range(count)],
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                seed=context.seed,
                purpose=f"sample-{number}",
                batch_size=len(batch) * count,
            )
            advance(len(batch))
            last = number + 1 == len(batches)
            stop = context.should_stop() and not last
            if stop or last or saver.is_due(number + 1):
                saver.save(number + 1, partial(_write, backbone, drawn))
            if stop:
                raise Interrupted("stopped; a checkpoint is written", remedy="run the same command again to go on")
    own = {index: drawn[place * count : (place + 1) * count] for place, index in enumerate(order)}
    return [own[index] for index in range(len(prompts))]


def _write(backbone: Backbone, drawn: Sequence[Completion], folder: Path) -> None:
    state = {"arithmetic": backbone.arithmetic, "ids": [c.ids for c in drawn], "ended": [c.ended for c in drawn]}
    checkpoint.write(folder, state)


def _resume(context: Context, backbone: Backbone) -> tuple[int, list[Completion]]:
    """How many batches are done, and their answers in the order they were drawn."""
    found = store.newest(context.checkpoints, context.say)
    if found is None:
        return 0, []
    with checkpoint.reading(found[1], backbone.arithmetic, context) as state:
        drawn = [Completion(list(ids), ended) for ids, ended in zip(state["ids"], state["ended"], strict=True)]
    context.say(f"going on from batch {found[0]}")
    return found[0], drawn


def _texts(chat: Chat, drawn: Sequence[Completion]) -> list[str]:
    """The different answers among those that ended, in the order they were drawn; an empty one is none."""
    texts = dict.fromkeys(chat.decode(completion.ids) for completion in drawn if completion.ended)
    return [text for text in texts if text.strip()]


def _scored(context: Context, backbone: Backbone, chat: Chat, answered: list[Answered]) -> list[Answered]:
    """With the reward model's scores, on its own scale; without one, as they are."""
    if not context.inputs.get("reward"):
        return answered
    reward = context.artifact("reward")
    assert reward.path is not None, "a reward model is always a published artifact"
    chat.check_same(reward)
    backbone.load(REWARD, reward)
    rows = [(item.prompt.prompt, text) for item in answered for text in item.texts]
    sequences = Sequences(
        [chat.prompt_ids(prompt) for prompt, _ in rows], [chat.completion_ids(prompt, text) for prompt, text in rows]
    )
    head = ScalarHead.load(reward.path, backbone.hidden_size).to(backbone.device)
    flat = iter(normalised_scores(backbone, REWARD, head, sequences).tolist())
    return [replace(item, scores=[next(flat) for _ in item.texts]) for item in answered]
