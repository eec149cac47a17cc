"""A reward model: a policy's trunk with a linear head learns to score answers as people ranked them.

From a policy and K-wise comparisons to a reward model, by the Bradley-Terry likelihood of every pair that
a ranking implies (Ouyang et al. 2022, eq. 1), or by another loss of losses.py. Each completion is encoded
once; all pairs of one prompt share one forward and weigh 1/number of pairs, so K = 9 does not drown K = 2.
Unlike the paper, scores are then shifted and scaled to mean 0 and deviation 1 on the starting policy's
own samples, so that PPO's coefficients have units. report.py judges the result on held-out comparisons.

Alone: `posttune run recipes/quickstart.yaml rm`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pipeline.contract import Artifact, Context, Result
from pipeline.errors import DataError, StageFailed
from stages.checkpoint.streams import permutation, stream
from stages.formats.inputs import read_input
from stages.formats.records import content_id
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.modeling.publish import publish_reward
from stages.objectives.preference import centering, group_mean
from stages.rm.config import Config, rate
from stages.rm.data import Ranked, judgements, read_comparisons, sequences
from stages.rm.judged import judge
from stages.rm.losses import loss_of
from stages.rm.report import report_card
from stages.rm.standing import NOTE
from stages.rollout.generate import generate
from stages.rollout.score import all_scores, scores
from stages.rollout.sequences import Sequences
from stages.training.loop import Objective, Settings, fit, schedule

ROLE, START = "reward", "start"
FIGURES = ("loss", "rewards/accuracies", "rewards/margins", "rewards/mean")


def run(config: Config, context: Context) -> Result:
    """Train and publish a reward model; the result is its report card on held-out comparisons."""
    chat = load_chat(context.model)
    train = read_comparisons(context, chat, "train", config.max_length, loss_of(config).reads)
    heldout = read_comparisons(context, chat, "heldout", config.max_length)
    context.say(train.describe())
    if train.has_weights and not loss_of(config).counts_votes:
        context.say(f"loss_type {config.loss_type} does not read the rankings' weights: soft_bradley_terry does")

    member = context if config.seed is None else replace(context, seed=config.seed)
    backbone = open_backbone(context.model)
    backbone.load(ROLE, context.artifact("policy"), trainable=True, seed=member.seed)
    head = ScalarHead(backbone.hidden_size).initialise(stream(member.seed, "rm", "head")).to(backbone.device)
    _train(config, member, backbone, head, train.ranked)
    backbone.load(START, context.artifact("policy"))
    notes = _normalize(config, context, backbone, head, chat)
    judged, answered = judge(backbone, (ROLE, START), head, heldout.ranked)
    notes[NOTE] = judged.standing.model_dump(mode="json")
    publish_reward(backbone, ROLE, head, chat, context.output, notes)
    _check_saved(context, backbone, head, heldout.ranked[0])
    card = report_card(judged, answered, heldout.ranked, context.artifact("policy").name)
    return replace(card, metrics={**card.metrics, **train.figures})


def _train(config: Config, context: Context, backbone: Backbone, head: ScalarHead, data: list[Ranked]) -> None:
    steps = schedule(config, len(data), context.seed, "rm", num_processes=1)
    settings = Settings(
        purpose="rm",
        arithmetic=backbone.arithmetic,
        groups=[
            (backbone.parameters(ROLE), rate(config, context.model)),
            ({"head": head.weight}, config.head_learning_rate),
        ],
        steps=steps,
        warmup_steps=config.warmup_ratio * len(steps),
        max_grad_norm=config.max_grad_norm,
        saving=config,
        logging_steps=config.logging_steps,
        counted={"num_tokens": lambda item: sum(sequences([data[item]]).lengths)},
    )

    def backward(part: list[int], total: float) -> dict[str, float]:
        return _backward(config, backbone, head, [data[item] for item in part], total)

    with backbone.learning(ROLE):
        fit(settings, Objective(lambda item: 1.0, backward, FIGURES), context)


def _backward(
    config: Config, backbone: Backbone, head: ScalarHead, part: list[Ranked], num_prompts: float
) -> dict[str, float]:
    """Accumulate these prompts' share of the gradient of the mean loss over all prompts of one optimizer step."""
    scores_N = scores(backbone, ROLE, head, sequences(part))
    people = judgements(part, scores_N.device)
    loss_G = loss_of(config).measure(scores_N, people, config)
    chosen, rejected = scores_N[people.pairs_P2[:, 0]], scores_N[people.pairs_P2[:, 1]]
    # Every term is a mean over a prompt's pairs, so that the sums do not depend on which prompts share a forward.
    centre = config.center_rewards_coefficient * group_mean(centering(chosen, rejected), people.group_P).sum()
    ((loss_G.sum() + centre) / num_prompts).backward()
    margins_P = (chosen - rejected).detach().masked_fill(people.tied_P, 0)
    found = (
        loss_G.sum().item(),
        group_mean((margins_P.sign() + 1) / 2, people.group_P).sum().item(),  # a tie counts half
        group_mean(margins_P, people.group_P).sum().item(),
        sum(own.mean().item() for own in scores_N.detach().split([len(i.completions) for i in part])),
    )
    return {name: value / num_prompts for name, value in zip(FIGURES, found, strict=True)}


def _normalize(config: Config, context: Context, backbone: Backbone, head: ScalarHead, chat: Chat) -> dict[str, Any]:
    """Give the starting policy's own answers mean 0 and deviation 1, and freeze that."""
    if config.normalize_prompts == 0:
        return {"normalization": None}
    records = read_input(context, "data", "prompt", "train")
    chosen = permutation(len(records), context.seed, "rm", "normalize")[: config.normalize_prompts]
    prompts = [chat.prompt_ids(records[i].prompt) for i in chosen]
    if len(prompts) < 2:
        raise DataError(
            f"{len(prompts)} prompt has no deviation to scale the scores by",
            where="rm.normalize_prompts",
            remedy="give it 2 or more, or 0 to leave the scores as they are",
        )
    with context.progress("sampling for the score's scale", len(prompts)) as advance:
        completions = generate(
            backbone,
            START,
            chat,
            prompts,
            max_new_tokens=config.max_new_tokens,
            temperature=1.0,
            seed=context.seed,
            purpose="rm-normalize",
            on_batch=advance,
        )
    raw = all_scores(backbone, ROLE, head, Sequences(prompts, [c.ids for c in completions]))
    mean, std = raw.mean(), raw.std().clamp_min(1e-6)
    head.mean.copy_(mean)
    head.std.copy_(std)
    error = float(std) / len(raw) ** 0.5
    context.say(
        f"{len(raw)} sampled answers score {float(mean):.3g} on average (standard error {error:.2g}), deviation "
        f"{float(std):.3g}: they become mean 0, deviation 1"
    )
    asked, policy = [records[i].prompt for i in chosen], context.artifact("policy")
    return {
        "normalization": {
            "mean": float(mean),
            "std": float(std),
            "num_samples": len(raw),
            "policy": policy.digest or policy.name,  # the base has no digest of its own
            "prompts": content_id(asked),
        }
    }


def _check_saved(context: Context, backbone: Backbone, head: ScalarHead, probe: Ranked) -> None:
    """Load what was saved and compare scores: an adapter saved without its head scores at random."""
    saved = Artifact("saved", "reward", context.output)
    backbone.load("saved", saved)
    own = ScalarHead.load(context.output, backbone.hidden_size).to(backbone.device)
    again = all_scores(backbone, "saved", own, sequences([probe]))
    now = all_scores(backbone, ROLE, head, sequences([probe]))
    if not torch.allclose(again, now, atol=1e-3, rtol=1e-3):
        raise StageFailed(
            f"the saved reward model scores differently after loading: {again.tolist()} against {now.tolist()}",
            where=str(context.output),
            remedy="please report this with the recipe",
        )
