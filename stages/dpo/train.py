"""Direct preference optimisation: a policy learns from ranked answers without a reward model.

From a policy, a reference and comparisons to a policy (Rafailov et al. 2023, and its kin in objectives/dpo.py).
A ranking of K answers becomes pairs, ties giving none; a pair's prompt is computed once for both answers. The
reference is a named artifact; its log-probabilities are worked out once, before the first step, and kept for a
resume (reference.py).

Alone: `posttune run recipes/quickstart.yaml dpo`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.contract import Context, Result
from stages.dpo.alarms import LATELY, chosen_falls
from stages.dpo.config import Config, rate
from stages.dpo.data import Pair, both_sides, read_pairs
from stages.dpo.evaluation import evaluate
from stages.dpo.reference import REFERENCE, reference_logprobs
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import load_chat
from stages.modeling.publish import publish_policy
from stages.objectives.dpo import LOSSES, extra_inputs, implicit_rewards
from stages.rollout.score import logprobs
from stages.training.loop import Objective, Settings, fit, schedule
from stages.training.processes import Processes

POLICY = "policy"
FIGURES = (
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
    "logps/rejected",
)  # fmt: skip


def run(config: Config, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its reference on held-out data."""
    chat = load_chat(context.model)
    train = read_pairs(config, context, chat, "train", config.pairs_per_prompt)
    heldout = read_pairs(config, context, chat, "heldout")
    backbone = open_backbone(context.model)
    backbone.load(POLICY, context.artifact("policy"), trainable=True, seed=context.seed)
    backbone.load(REFERENCE, context.artifact("reference"))
    alarms = _train(config, context, backbone, train)
    if not context.chief:
        return Result({})
    publish_policy(backbone, POLICY, chat, context.output, made_by="dpo")
    del backbone  # what is judged is what was saved
    return evaluate(config, context, chat, heldout, alarms)


def _train(config: Config, context: Context, backbone: Backbone, pairs: list[Pair]) -> dict[str, str]:
    """Returns the alarms that were raised."""
    steps = schedule(config, len(pairs), context.seed, "dpo", Processes.join().count)
    reference_P2 = reference_logprobs(backbone, pairs, steps, context)
    fixed = {"label_smoothing": config.label_smoothing, "alpha": config.alpha}

    def backward(part: list[int], total: float) -> dict[str, float]:
        sequences = both_sides([pairs[item] for item in part])
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

    notes: dict[str, Any] = {"lately": [], "alarms": {}}
    settings = Settings(
        purpose="dpo",
        arithmetic=backbone.arithmetic,
        groups=[(backbone.parameters(POLICY), rate(config, context.model))],
        steps=steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        max_grad_norm=config.max_grad_norm,
        saving=config,
        logging_steps=config.logging_steps,
        notes=notes,
        counted={"num_tokens": lambda item: sum(both_sides([pairs[item]]).lengths)},
    )
    with backbone.learning(POLICY, config.gradient_checkpointing):
        fit(settings, Objective(lambda item: 1.0, backward, FIGURES), _watched(config, context, notes))
    return dict(notes["alarms"])


def _watched(config: Config, context: Context, notes: dict[str, Any]) -> Context:
    """The context with an ear on the logged figures; what it has heard is kept in `notes`, for a resume."""

    def log_metrics(step: int, figures: Mapping[str, float]) -> None:
        context.log_metrics(step, figures)
        notes["lately"] = [*notes["lately"], {name: figures[name] for name in FIGURES}][-LATELY:]
        found = chosen_falls(notes["lately"], config.beta)
        if found and "chosen_falls" not in notes["alarms"]:
            context.say(f"alarm at step {step}: {found}")
            notes["alarms"]["chosen_falls"] = f"step {step}: {found}"

    return replace(context, log_metrics=log_metrics)
