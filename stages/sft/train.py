"""Supervised fine-tuning: a policy learns to answer as the given conversations do.

From a policy and instructions to a policy, by next-token cross-entropy on the assistant's tokens
(Ouyang et al. 2022, section 3.5), each token of an optimizer step weighing the same however the step is cut.
Unlike TRL's SFTTrainer there is no padding, and the language-model head sees only the trained tokens.

Alone: `posttune run recipes/quickstart.yaml sft`
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract import Artifact, Context, Result, Table
from pipeline.errors import DataError
from stages.evaluate.answers import ask, before_after, heldout_questions, measure, told
from stages.formats.inputs import read_input
from stages.formats.records import Instruction
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, Encoded, load_chat
from stages.modeling.publish import publish_policy
from stages.rollout.score import encoded_logprobs, in_batches, logprobs
from stages.rollout.sequences import Sequences
from stages.sft.config import Config, rate
from stages.sft.data import encode, packed, truncate
from stages.training.loop import Objective, Settings, fit, schedule
from stages.training.processes import Processes

ROLE = "policy"


def run(config: Config, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its input on held-out rows."""
    chat = load_chat(context.model)
    train_rows = read_input(context, "data", "instruction", "train")
    heldout_rows = read_input(context, "data", "instruction", "heldout")
    encoded = [encode(chat, row, config) for row in train_rows]
    kept = [truncate(row, config.max_length) for row in encoded]
    cut = _check_tokens(encoded, kept, chat, config, context)
    heldout = _sequences(chat, heldout_rows, config.max_length)

    backbone = open_backbone(context.model)
    backbone.load(ROLE, context.artifact("policy"), trainable=True, seed=context.seed)
    _train(config, context, backbone, kept)
    if not context.chief:
        return Result({})
    publish_policy(backbone, ROLE, chat, context.output, made_by="sft")
    del backbone  # what is judged is what was saved
    return _evaluate(config, context, chat, heldout, cut)


def _check_tokens(
    encoded: Sequence[Encoded], kept: Sequence[Encoded], chat: Chat, config: Config, context: Context
) -> dict[str, float]:
    """Say what truncation costs; refuse data that would train nothing, or never the end of a turn."""
    trained, trained_before = (sum(row.num_trained for row in rows) for rows in (kept, encoded))
    empty = [i for i, row in enumerate(kept) if not row.num_trained]
    ends = sum(row.completion_mask[-1] == 1 and row.input_ids[-1] == chat.end_of_turn for row in kept)
    if empty:
        raise DataError(
            f"{len(empty)} of {len(kept)} conversations have no trained token left within max_length "
            f"{config.max_length}",
            where=f"training row {empty[0] + 1}",
            remedy="raise max_length, or shorten or leave out those rows",
        )
    if not ends:
        raise DataError(
            f"truncation at max_length {config.max_length} cuts off the end of every answer, so the model "
            "would never learn to stop",
            where="sft.max_length",
            remedy="raise max_length",
        )
    lost = trained_before - trained
    shortened = sum(len(row.input_ids) > config.max_length for row in encoded)
    context.say(
        f"{len(kept)} conversations, {sum(len(r.input_ids) for r in kept)} tokens, {trained} trained; "
        f"{ends} end with the end-of-turn token; max_length {config.max_length} cuts "
        f"{shortened} of them ({lost} trained tokens)"
    )
    return {
        "data/num_rows": len(kept),
        "data/num_tokens": sum(len(r.input_ids) for r in kept),
        "data/num_trained_tokens": trained,
        "data/num_truncated_tokens": lost,
    }


def _train(config: Config, context: Context, backbone: Backbone, rows: Sequence[Encoded]) -> None:
    items = packed(rows, config.max_length, context.seed) if config.packing else [[row] for row in rows]

    def backward(part: list[int], total: float) -> dict[str, float]:
        loss = -encoded_logprobs(backbone, ROLE, [row for item in part for row in items[item]]).sum() / total
        loss.backward()
        return {"loss": float(loss.detach())}

    settings = Settings(
        purpose="sft",
        arithmetic=backbone.arithmetic,
        groups=[(backbone.parameters(ROLE), rate(config, context.model))],
        steps=schedule(config, len(items), context.seed, "sft", Processes.join().count),
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        saving=config,
        logging_steps=config.logging_steps,
        counted={"num_tokens": lambda item: sum(len(row.input_ids) for row in items[item])},
    )
    with backbone.learning(ROLE, config.gradient_checkpointing):
        fit(settings, Objective(lambda item: sum(row.num_trained for row in items[item]), backward, ["loss"]), context)


def _evaluate(config: Config, context: Context, chat: Chat, rows: Sequences, cut: dict[str, float]) -> Result:
    """The tuned model against its input: loss on held-out rows, and what a program can check of its answers."""
    start = context.artifact("policy")
    backbone = open_backbone(context.model)
    backbone.load("input", start)
    backbone.load("tuned", Artifact("tuned", "policy", context.output))
    old_nll, new_nll = (_nll(backbone, role, rows) for role in ("input", "tuned"))
    lines = [before_after("loss (nats a token)", start.name, "tuned", old_nll, new_nll)]
    metrics = {**cut, "heldout/loss": sum(new_nll) / len(new_nll), "heldout/input_loss": sum(old_nll) / len(old_nll)}

    questions = heldout_questions(context.data["data"], chat, config.eval_prompts, context.seed)
    if questions:
        old, new = (
            measure(questions, ask(backbone, role, chat, questions, context, max_new_tokens=config.max_new_tokens))
            for role in ("input", "tuned")
        )
        for name in new:
            lines.append(before_after(name, start.name, "tuned", old[name], new[name]))
            known = [v for v in new[name] if v is not None]
            metrics[f"heldout/{name}"] = sum(known) / len(known)
    columns = ["held-out figure", start.name, "tuned", "difference"]
    note = f"{len(rows)} held-out rows, {len(questions)} prompts answered greedily; 95% bootstrap intervals"
    summary = told(lines)
    return Result(metrics, [Table("Held-out, before and after sft", columns, lines, note)], summary)


def _sequences(chat: Chat, rows: Sequence[Instruction], max_length: int) -> Sequences:
    """Prompt and last answer of each row that fits; DataError if none does, while nothing has been trained yet."""
    prompts, completions = [], []
    for row in rows:
        encoded = chat.encode(row.messages, row.tools)
        start = encoded.completion_mask.index(1)
        if len(encoded.input_ids) <= max_length:
            prompts.append(encoded.input_ids[:start])
            completions.append(encoded.input_ids[start:])
    if not prompts:
        raise DataError(
            f"none of {len(rows)} held-out conversations fits into max_length {max_length}",
            where="sft.data",
            remedy="raise max_length",
        )
    return Sequences(prompts, completions)


def _nll(backbone: Backbone, role: str, rows: Sequences) -> list[float]:
    """Mean negative log-likelihood a completion token, per row."""
    (logprobs_BR,) = in_batches(lambda part: logprobs(backbone, role, part), rows)
    mask_BR = rows.mask_BR
    return (-(logprobs_BR * mask_BR).sum(1) / mask_BR.sum(1)).tolist()
