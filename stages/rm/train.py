"""A reward model: a policy's trunk with a linear head learns to score answers as people ranked them.

From a policy and K-wise comparisons to a reward model, by the Bradley-Terry likelihood of every pair that
a ranking implies (Ouyang et al. 2022, eq. 1). Each completion is encoded once; all pairs of one prompt
share one forward and weigh 1/number of pairs, so K = 9 does not drown K = 2. Ties give no pair.
Unlike the paper, scores are then shifted and scaled to mean 0 and deviation 1 on the starting policy's
own samples, so that PPO's coefficients have units.

Alone: `posttune run recipes/quickstart.yaml rm`
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.contract import Artifact, Context, Result, Table
from pipeline.errors import DataError, StageFailed
from stages.checkpoint.streams import permutation, stream
from stages.evaluate.answers import with_interval
from stages.formats.inputs import read_input
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.heads import ScalarHead
from stages.modeling.publish import publish_reward
from stages.objectives.preference import bradley_terry, centering, group_mean, kwise_bradley_terry
from stages.objectives.statistics import bootstrap_ci
from stages.rm.config import Config, rate
from stages.rm.data import Comparisons, Ranked, read_comparisons, sequences
from stages.rollout.generate import generate
from stages.rollout.score import all_scores, scores
from stages.rollout.sequences import Sequences
from stages.training.loop import Objective, Settings, fit, schedule

ROLE = "reward"
FIGURES = ("loss", "rewards/accuracies", "rewards/margins", "rewards/mean")


def run(config: Config, context: Context) -> Result:
    """Train and publish a reward model; the result reports its accuracy on held-out comparisons."""
    chat = load_chat(context.model)
    train = read_comparisons(context, "data", chat, "train", config.max_length)
    heldout = read_comparisons(context, "eval_data", chat, "heldout", config.max_length)
    context.say(train.describe())

    backbone = open_backbone(context.model)
    backbone.load(ROLE, context.artifact("policy"), trainable=True, seed=context.seed)
    head = ScalarHead(backbone.hidden_size).initialise(stream(context.seed, "rm", "head")).to(backbone.device)
    _train(config, context, backbone, head, train.ranked)
    notes = _normalize(config, context, backbone, head, chat)
    publish_reward(backbone, ROLE, head, chat, context.output, notes)
    _check_saved(context, backbone, head, heldout.ranked[0])
    return _evaluate(backbone, head, train, heldout)


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
        save_steps=config.save_steps,
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
    pairs_P2, group_P = (index.to(scores_N.device) for index in _pairs(part))
    loss_G = kwise_bradley_terry(scores_N, pairs_P2, group_P)
    chosen, rejected = scores_N[pairs_P2[:, 0]], scores_N[pairs_P2[:, 1]]
    # Every term is a mean over a prompt's pairs, so that the sums do not depend on which prompts share a forward.
    centre = config.center_rewards_coefficient * group_mean(centering(chosen, rejected), group_P).sum()
    ((loss_G.sum() + centre) / num_prompts).backward()
    margins = (chosen - rejected).detach()
    found = (
        loss_G.sum().item(),
        group_mean((margins > 0).float(), group_P).sum().item(),
        group_mean(margins, group_P).sum().item(),
        sum(own.mean().item() for own in scores_N.detach().split([len(i.completions) for i in part])),
    )
    return {name: value / num_prompts for name, value in zip(FIGURES, found, strict=True)}


def _pairs(part: list[Ranked]) -> tuple[Tensor, Tensor]:
    """All pairs as positions in the batch's rows [P, 2], and the prompt each belongs to [P]."""
    pairs, groups, offset = [], [], 0
    for group, item in enumerate(part):
        pairs += [(winner + offset, loser + offset) for winner, loser in item.pairs]
        groups += [group] * len(item.pairs)
        offset += len(item.completions)
    return torch.tensor(pairs), torch.tensor(groups)


def _normalize(config: Config, context: Context, backbone: Backbone, head: ScalarHead, chat: Chat) -> dict[str, Any]:
    """Give the starting policy's own answers mean 0 and deviation 1, and freeze that."""
    if config.normalize_prompts == 0:
        return {"normalization": None}
    backbone.load("start", context.artifact("policy"))
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
            "start",
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
    start: Artifact = context.artifact("policy")
    return {"normalization": {"mean": float(mean), "std": float(std), "num_samples": len(raw), "policy": start.digest}}


def _check_saved(context: Context, backbone: Backbone, head: ScalarHead, probe: Ranked) -> None:
    """Load what was saved and compare scores: an adapter saved without its head scores at random."""
    saved = Artifact("saved", "reward", context.output)
    backbone.load("saved", saved)
    again = all_scores(backbone, "saved", ScalarHead.load(context.output).to(backbone.device), sequences([probe]))
    now = all_scores(backbone, ROLE, head, sequences([probe]))
    if not torch.allclose(again, now, atol=1e-3, rtol=1e-3):
        raise StageFailed(
            f"the saved reward model scores differently after loading: {again.tolist()} against {now.tolist()}",
            where=str(context.output),
            remedy="please report this with the recipe",
        )


def _evaluate(backbone: Backbone, head: ScalarHead, train: Comparisons, heldout: Comparisons) -> Result:
    right, longer, nll, groups = _judge(backbone, head, heldout)
    accuracy = bootstrap_ci(right, groups=groups)
    by_length = bootstrap_ci(longer, groups=groups)
    rows = [
        ["pair accuracy", with_interval(accuracy)],
        ["accuracy of 'the longer answer wins'", with_interval(by_length)],
        ["negative log-likelihood (chance 0.693)", with_interval(bootstrap_ci(nll, groups=groups))],
    ]
    metrics = {
        "heldout/accuracy": accuracy[0],
        "heldout/accuracy_low": accuracy[1],
        "heldout/accuracy_high": accuracy[2],
        "heldout/longer_wins": by_length[0],
        "heldout/nll": float(nll.mean()),
        "heldout/num_pairs": heldout.num_pairs,
        "data/num_pairs": train.num_pairs,
        "data/num_tokens": train.num_tokens,
        "data/num_left_out": train.num_tied + train.num_too_long,
    }
    note = (
        f"{len(heldout.ranked)} held-out comparisons, {heldout.num_pairs} pairs; 95% intervals by bootstrap over "
        "prompts. 0.5 is chance"
    )
    summary = [
        f"held-out pair accuracy {with_interval(accuracy)} on {heldout.num_pairs} pairs "
        f"(longer wins: {by_length[0]:.3g})"
    ]
    return Result(metrics, [Table("Reward model on held-out comparisons", ["figure", "value"], rows, note)], summary)


def _judge(backbone: Backbone, head: ScalarHead, data: Comparisons) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per held-out pair: is the winner scored higher, is it longer (a half for equal), its NLL, its prompt."""
    flat = all_scores(backbone, ROLE, head, sequences(data.ranked))
    right, longer, nll, groups, offset = [], [], [], [], 0
    for group, item in enumerate(data.ranked):
        for winner, loser in item.pairs:
            won, lost = flat[offset + winner], flat[offset + loser]
            right.append(float(won > lost))
            lengths = len(item.completions[winner]) - len(item.completions[loser])
            longer.append(0.5 if lengths == 0 else float(lengths > 0))
            nll.append(float(bradley_terry(won, lost)))
            groups.append(group)
        offset += len(item.completions)
    return torch.tensor(right), torch.tensor(longer), torch.tensor(nll), torch.tensor(groups)
