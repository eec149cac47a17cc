"""Supervised fine-tuning: a policy learns to answer as the given conversations do, or to write as the given texts.

From a policy and instructions, plain text, or both, to a policy, by next-token cross-entropy on the assistant's tokens
(Ouyang et al. 2022, section 3.5) and on every token of a text (domain adaptation: Gururangan et al. 2020), each token
of an optimizer step weighing the same however the step is cut.
Unlike TRL's SFTTrainer there is no padding, and the language-model head sees only the trained tokens.

Alone: `posttune run recipes/quickstart.yaml sft`
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract import Context, Result
from pipeline.errors import DataError
from stages.formats.inputs import read_input
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, Encoded, load_chat
from stages.modeling.publish import publish_policy
from stages.rollout.score import encoded_logprobs
from stages.sft.config import Config, rate
from stages.sft.data import Lesson, packed, prepare
from stages.sft.evaluation import evaluate, read_heldout
from stages.training.loop import Objective, Settings, fit, schedule
from stages.training.processes import Processes

ROLE = "policy"


def run(config: Config, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its input on held-out rows."""
    chat = load_chat(context.model)
    records = read_input(context, "data", "instruction or text", "train")
    lessons = [prepare(chat, record, config) for record in records]
    counts = _check(lessons, chat, config, context)
    heldout = read_heldout(context, chat, config.max_length)

    backbone = open_backbone(context.model)
    backbone.load(ROLE, context.artifact("policy"), trainable=True, seed=context.seed)
    _train(config, context, backbone, [row for lesson in lessons for row in lesson.rows])
    if not context.chief:
        return Result({})
    publish_policy(backbone, ROLE, chat, context.output, made_by="sft")
    del backbone  # what is judged is what was saved
    return evaluate(config, context, chat, heldout, counts)


def _check(lessons: Sequence[Lesson], chat: Chat, config: Config, context: Context) -> dict[str, float]:
    """Say what is learnt, and what truncation costs; refuse data that would train nothing."""
    empty = [number for number, lesson in enumerate(lessons, start=1) if not lesson.num_trained]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(lessons)} conversations or texts have no trained token left within max_length "
            f"{config.max_length}",
            where=f"training row {empty[0]}",
            remedy="raise max_length, or shorten or leave out those rows",
        )
    if conversations := [lesson for lesson in lessons if not lesson.is_text]:
        _check_conversations(conversations, chat, config, context)
    if texts := [lesson for lesson in lessons if lesson.is_text]:
        rows = [row for lesson in texts for row in lesson.rows]
        trained = sum(lesson.num_trained for lesson in texts)
        context.say(f"{len(texts)} texts in {len(rows)} rows of at most {config.max_length} tokens, {trained} trained")
    rows = [row for lesson in lessons for row in lesson.rows]
    return {
        "data/num_rows": len(rows),
        "data/num_tokens": sum(len(row.input_ids) for row in rows),
        "data/num_trained_tokens": sum(row.num_trained for row in rows),
        "data/num_truncated_tokens": sum(lesson.num_lost for lesson in lessons),
    }


def _check_conversations(lessons: Sequence[Lesson], chat: Chat, config: Config, context: Context) -> None:
    """Say what is cut; refuse data that never shows the end of a turn."""
    kept = [row for lesson in lessons for row in lesson.rows]
    ends = sum(row.completion_mask[-1] == 1 and row.input_ids[-1] == chat.end_of_turn for row in kept)
    if not ends:
        raise DataError(
            f"truncation at max_length {config.max_length} cuts off the end of every answer, so the model "
            "would never learn to stop",
            where="sft.max_length",
            remedy="raise max_length",
        )
    shortened = sum(len(lesson.whole.input_ids) > config.max_length for lesson in lessons)
    context.say(
        f"{len(kept)} conversations, {sum(len(r.input_ids) for r in kept)} tokens, "
        f"{sum(row.num_trained for row in kept)} trained; {ends} end with the end-of-turn token; "
        f"max_length {config.max_length} cuts {shortened} of them "
        f"({sum(lesson.num_lost for lesson in lessons)} trained tokens)"
    )


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
