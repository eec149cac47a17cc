"""Direct preference optimisation: a policy learns from ranked answers without a reward model.

From a policy, a reference and comparisons to a policy (Rafailov et al. 2023, and its kin in objectives/dpo.py).
A ranking of K answers becomes pairs, ties giving none; a pair's prompt is computed once for both answers. The
reference is a named artifact; its log-probabilities are worked out once, before the first step, in the
micro-batches of the first epoch, so that the loss starts at exactly log 2.

Alone: `posttune run recipes/quickstart.yaml dpo`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pipeline.contract import Artifact, Context, Result, Table
from pipeline.errors import DataError, Interrupted
from stages.dpo.config import Config, rate
from stages.evaluate.answers import ask, before_after, heldout_questions, mean_interval, measure, told, with_interval
from stages.formats.inputs import read_input
from stages.formats.load import Side
from stages.formats.records import Comparison
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.publish import publish_policy
from stages.objectives.dpo import LOSSES, extra_inputs, implicit_rewards
from stages.objectives.preference import ranking_pairs
from stages.objectives.statistics import bootstrap_ci
from stages.rollout.score import in_batches, logprobs
from stages.rollout.sequences import Sequences
from stages.training.loop import Objective, Settings, Step, fit, schedule
from stages.training.processes import Processes

POLICY, REFERENCE = "policy", "reference"
FIGURES = (
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
    "logps/rejected",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One prompt with a better and a worse answer, as ids."""

    id: str  # of the comparison it comes from
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def run(config: Config, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its reference on held-out data."""
    chat = load_chat(context.model)
    train = _pairs(config, context, chat, "train", config.pairs_per_prompt)
    heldout = _pairs(config, context, chat, "heldout")
    backbone = open_backbone(context.model)
    backbone.load(POLICY, context.artifact("policy"), trainable=True, seed=context.seed)
    backbone.load(REFERENCE, context.artifact("reference"))
    _train(config, context, backbone, train)
    if not context.chief:
        return Result({})
    publish_policy(backbone, POLICY, chat, context.output, made_by="dpo")
    del backbone  # what is judged is what was saved
    return _evaluate(config, context, chat, heldout)


def _pairs(config: Config, context: Context, chat: Chat, side: Side, limit: int | None = None) -> list[Pair]:
    """Winner and loser of every ranking; with a limit, that many of each comparison, the furthest apart first."""
    records = read_input(context, "data", "comparison", side)
    pairs: list[Pair] = []
    too_long = 0
    for record in records:
        own = [
            (ranking.ranks[loser] - ranking.ranks[winner], winner, loser)  # type: ignore[operator]
            for ranking in record.rankings
            for winner, loser in ranking_pairs(ranking.ranks)
        ]
        own.sort(key=lambda pair: -pair[0])
        for _, winner, loser in own[:limit]:
            pair = _encode(chat, record, winner, loser)
            if pair.longest > config.max_length:
                too_long += 1
            else:
                pairs.append(pair)
    if not pairs:
        raise DataError(
            f"{len(records)} {side} comparisons give no pair: all are tied, or longer than max_length "
            f"{config.max_length}",
            where="dpo.data",
            remedy="rank some completions apart, or raise max_length",
        )
    context.say(f"{side}: {len(pairs)} pairs from {len(records)} comparisons; left out, too long: {too_long}")
    return pairs


def _encode(chat: Chat, record: Comparison, winner: int, loser: int) -> Pair:
    chosen, rejected = (chat.completion_ids(record.prompt, record.completions[i]) for i in (winner, loser))
    return Pair(record.id, chat.prompt_ids(record.prompt), chosen, rejected)


def _train(config: Config, context: Context, backbone: Backbone, pairs: list[Pair]) -> None:
    steps = schedule(config, len(pairs), context.seed, "dpo", Processes.join().count)
    reference_P2 = _reference_logprobs(backbone, pairs, steps, context)
    fixed = {"label_smoothing": config.label_smoothing, "alpha": config.alpha}

    def backward(part: list[int], total: float) -> dict[str, float]:
        sequences = _both_sides([pairs[item] for item in part])
        chosen, rejected = logprobs(backbone, POLICY, sequences).sum(1).chunk(2)
        ref_chosen, ref_rejected = reference_P2[part].to(chosen.device).unbind(1)
        lengths_w, lengths_l = sequences.mask_BR.sum(1).to(chosen.device).chunk(2)
        known = {**fixed, "lengths_w": lengths_w, "lengths_l": lengths_l}
        wanted = {name: known[name] for name in extra_inputs(config.loss_type)}
        losses = LOSSES[config.loss_type](chosen, rejected, ref_chosen, ref_rejected, config.beta, **wanted)
        if config.sft_weight:
            losses = losses - config.sft_weight * chosen / lengths_w
        (losses.sum() / total).backward()
        won, lost = implicit_rewards(chosen, rejected, ref_chosen, ref_rejected, config.beta)
        found = (losses, won, lost, won - lost, (won > lost).float(), chosen, rejected)
        return {name: float(values.detach().sum()) / total for name, values in zip(FIGURES, found, strict=True)}

    settings = Settings(
        purpose="dpo",
        arithmetic=backbone.arithmetic,
        groups=[(backbone.parameters(POLICY), rate(config, context.model))],
        steps=steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        max_grad_norm=config.max_grad_norm,
        save_steps=config.save_steps,
        logging_steps=config.logging_steps,
        counted={"num_tokens": lambda item: sum(_both_sides([pairs[item]]).lengths)},
    )
    with backbone.learning(POLICY, config.gradient_checkpointing):
        fit(settings, Objective(lambda item: 1.0, backward, FIGURES), context)


@torch.no_grad()
def _reference_logprobs(backbone: Backbone, pairs: Sequence[Pair], steps: Sequence[Step], context: Context) -> Tensor:
    """The reference's log-probability of both answers of each pair that training will meet, [P, 2]."""
    processes = Processes.join()
    found = torch.zeros(len(pairs), 2)
    parts = _first_meetings(steps)[processes.rank :: processes.count]
    with context.progress("reference log-probabilities", len(parts)) as advance:
        for part in parts:
            if context.should_stop() and processes.count == 1:  # several must stop together: after the first step
                raise Interrupted("stopped", remedy="run the same command again to go on")
            both = logprobs(backbone, REFERENCE, _both_sides([pairs[item] for item in part])).sum(1)
            found[part] = both.float().cpu().view(2, -1).T
            advance(1)
    return processes.sum_tensor(found)


def _first_meetings(steps: Sequence[Step]) -> list[list[int]]:
    """The micro-batches, in order, that hold a pair not met before, less the pairs that were."""
    parts, met = [], set[int]()
    for part in (part for step in steps for part in step):
        new = [item for item in part if item not in met]
        if new:
            parts.append(new)
            met.update(new)
    return parts


def _evaluate(config: Config, context: Context, chat: Chat, pairs: list[Pair]) -> Result:
    """Held-out pair accuracy of the implicit reward, the chosen answers' drift, and answers before and after."""
    backbone = open_backbone(context.model)
    backbone.load(REFERENCE, context.artifact("reference"))
    backbone.load("tuned", Artifact("tuned", "policy", context.output))
    reference = context.artifact("reference").name
    sequences = _both_sides(pairs)
    own, other = (in_batches(partial(logprobs, backbone, role), sequences)[0].sum(1) for role in ("tuned", REFERENCE))
    chosen, rejected = (own - other)[: len(pairs)], (own - other)[len(pairs) :]
    ids = [pair.id for pair in pairs]
    accuracy = bootstrap_ci((chosen > rejected).float(), groups=ids)
    drift = bootstrap_ci(chosen, groups=ids)
    rows = [
        ["implicit-reward pair accuracy", None, with_interval(accuracy), None],
        ["log-probability gained by the preferred answer (nats)", None, with_interval(drift), None],
    ]
    metrics = {
        "heldout/accuracy": accuracy[0],
        "heldout/accuracy_low": accuracy[1],
        "heldout/accuracy_high": accuracy[2],
        "heldout/chosen_logprob_gain": drift[0],
        "heldout/margin": float((chosen - rejected).mean()) * config.beta,
    }
    questions = heldout_questions(context.data["data"], chat, config.eval_prompts, context.seed)
    if questions:
        old, new = (
            measure(questions, ask(backbone, role, chat, questions, context, max_new_tokens=config.max_new_tokens))
            for role in (REFERENCE, "tuned")
        )
        rows += [before_after(name, reference, "dpo", old[name], new[name]) for name in new]
        metrics |= {f"heldout/{name}": mean_interval(values)[0] for name, values in new.items()}
    note = (
        f"{len(pairs)} held-out pairs, {len(questions)} prompts answered greedily; 95% bootstrap intervals over prompts"
    )
    table = Table("Held-out, before and after dpo", ["held-out figure", reference, "dpo", "difference"], rows, note)
    return Result(metrics, [table], told(rows))


def _both_sides(pairs: Sequence[Pair]) -> Sequences:
    """All winners, then all losers; a prompt is computed once for both."""
    return Sequences([pair.prompt for pair in pairs] * 2, [p.chosen for p in pairs] + [p.rejected for p in pairs])
