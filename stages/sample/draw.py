"""Several answers of each of several policies to every prompt, from the newest checkpoint on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.contract import Context, Saving
from pipeline.errors import Interrupted
from stages.checkpoint import state as checkpoint
from stages.checkpoint import store
from stages.checkpoint.streams import permutation
from stages.formats.inputs import read_input
from stages.formats.records import Prompt
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.rollout.generate import Completion, generate


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    count: int  # of each policy, a prompt
    temperature: float
    max_new_tokens: int
    batch_size: int  # prompts answered together


def read_prompts(context: Context, max_prompts: int | None, purpose: str) -> list[Prompt]:
    """Each prompt once, of both sides of the split; `max_prompts` of them at random, by the seed."""
    unique: dict[str, Prompt] = {}
    for record in read_input(context, "data", "prompt", "all"):
        known = unique.get(record.prompt_key)
        if known is None or known.reference is None:
            unique[record.prompt_key] = record
    prompts = list(unique.values())
    if max_prompts is None or max_prompts >= len(prompts):
        return prompts
    chosen = permutation(len(prompts), context.seed, purpose, "prompts")[:max_prompts]
    return [prompts[i] for i in sorted(chosen)]


def draw(
    context: Context,
    backbone: Backbone,
    chat: Chat,
    prompts: Sequence[Prompt],
    *,
    policies: Sequence[str],
    sampling: Sampling,
    saving: Saving,
) -> list[list[list[Completion]]]:
    """The completions of each policy (a role on the backbone), of each prompt; a batch holds prompts of like length.

    Interrupted, with a checkpoint written, when the context says so.
    """
    ids = [chat.prompt_ids(prompt.prompt) for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda index: (len(ids[index]), index))
    size, count = sampling.batch_size, sampling.count
    batches = [(p, order[start : start + size]) for p in policies for start in range(0, len(order), size)]
    saver = store.Saver(context.checkpoints, saving)
    done, drawn = _resume(context, backbone)
    with context.progress("prompts", len(prompts) * len(policies)) as advance:
        advance(sum(len(batch) for _, batch in batches[:done]))
        for number, (policy, batch) in list(enumerate(batches))[done:]:
            drawn += generate(
                backbone,
                policy,
                chat,
                [ids[index] for index in batch for _ in range(count)],
                max_new_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
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
    flat = iter(drawn)
    found = {(p, index): [next(flat) for _ in range(count)] for p, batch in batches for index in batch}
    return [[found[policy, index] for index in range(len(prompts))] for policy in policies]


def texts_of(chat: Chat, drawn: Sequence[Completion]) -> list[str]:
    """The different answers among those that ended, in the order they were drawn; an empty one is none."""
    texts = dict.fromkeys(chat.decode(completion.ids) for completion in drawn if completion.ended)
    return [text for text in texts if text.strip()]


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
