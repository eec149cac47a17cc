"""One round on the policy's own answers: sample several to each prompt and let a reward model rank them.

From a policy, a reward model and prompts to comparisons, which a later dpo or rm reads by `data: {x: {from: sample}}`
(on-policy rounds: Xu et al. 2023, "Some things are more cringe than others"; Guo et al. 2024). An answer becomes text
again, so one that was cut off is left out: as text it would look finished. So are repetitions. What is scored is the
text with its end-of-turn token, as the next stage will read it. Without a reward model the answers come unranked,
for people to rank.

Alone: `posttune run recipes/on-policy.yaml sample`
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.contract import Context, Result
from pipeline.errors import DataError
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.rollout.score import normalised_scores
from stages.rollout.sequences import Sequences
from stages.sample.comparisons import Answered, write
from stages.sample.config import Config
from stages.sample.draw import Sampling, draw, read_prompts, texts_of
from stages.sample.report import report

POLICY, REWARD = "policy", "reward"


def run(config: Config, context: Context) -> Result:
    """Sample, score, rank, and publish the comparisons."""
    chat = load_chat(context.model)
    prompts = read_prompts(context, config.max_prompts, "sample")
    backbone = open_backbone(context.model)
    backbone.load(POLICY, context.artifact("policy"))
    how = Sampling(config.num_samples_per_prompt, config.temperature, config.max_new_tokens, config.batch_size)
    (drawn,) = draw(context, backbone, chat, prompts, policies=[POLICY], sampling=how, saving=config)
    answered = [Answered(prompt, own, texts_of(chat, own)) for prompt, own in zip(prompts, drawn, strict=True)]
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
