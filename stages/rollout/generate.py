"""Completions from a policy: plain sampling at a temperature, or greedy.

Never top-k, top-p or a repetition penalty: PPO's log-probabilities are those of the whole
distribution, and a truncated sampler makes the measured KL negative.

Our own loop decodes (decode.py) unless the recipe names an attention of its own; then transformers' `generate` does,
which is also its oracle in the tests: greedy, both give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stages.checkpoint.streams import stream
from stages.modeling import ragged
from stages.modeling.backbone import Backbone
from stages.modeling.batches import left_pad
from stages.modeling.chat import Chat
from stages.rollout.decode import decode

BATCH = 64  # rows that decode together


@dataclass(frozen=True)
class Completion:
    """Generated ids, the stop token included where there is one; `ended` says whether there is.

    Our own loop also gives each token's log-probability and the entropy it was drawn at, both in nats and at the
    sampler's temperature (greedy: at 1).
    """

    ids: list[int]
    ended: bool
    logprobs: list[float] | None = None
    entropies: list[float] | None = None


def generate(
    backbone: Backbone,
    role: str,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    purpose: str,
    batch_size: int = BATCH,
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[Completion]:
    """One completion a prompt; temperature 0 is greedy. The same seed and purpose give the same tokens.

    Prompts are batched by length, equal ones side by side, so which rows share a batch depends on the prompts alone.
    """
    complete = _by_our_loop if backbone.attention == ragged.NAME else _by_transformers
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), tuple(prompts[index]), index))
    found: dict[int, Completion] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        streams = [stream(seed, purpose, index) for index in rows]
        given = [prompts[index] for index in rows]
        completions = complete(backbone, role, chat, given, streams, max_new_tokens, temperature)
        found |= zip(rows, completions, strict=True)
        on_batch(len(rows))
    return [found[index] for index in range(len(prompts))]


def _by_our_loop(
    backbone: Backbone,
    role: str,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    streams: Sequence[torch.Generator],
    max_new_tokens: int,
    temperature: float,
) -> list[Completion]:
    draws = None
    if temperature > 0:
        draws = torch.stack([torch.rand(max_new_tokens, generator=own, dtype=torch.float64) for own in streams])
    decoded = decode(
        backbone,
        role,
        prompts,
        draws,
        stop_ids=chat.stop_ids,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )
    return [Completion(row.ids, row.ended, row.logprobs, row.entropies) for row in decoded]


@torch.no_grad()
def _by_transformers(
    backbone: Backbone,
    role: str,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    streams: Sequence[torch.Generator],
    max_new_tokens: int,
    temperature: float,
) -> list[Completion]:
    """The batch as a whole draws from the stream of its first row."""
    padded = left_pad([list(prompt) for prompt in prompts], chat.pad_id, backbone.device)
    with torch.random.fork_rng(devices=[backbone.device] if backbone.device.type == "cuda" else []):
        torch.manual_seed(streams[0].initial_seed())
        with backbone.model(role) as model, backbone.products(), _no_settings_of_its_own(model):
            output = model.generate(
                input_ids=padded.ids_BT,
                attention_mask=padded.mask_BT.long(),
                generation_config=_settings(chat, max_new_tokens, temperature),
            )
    return [_cut(ids, chat.stop_ids) for ids in output[:, padded.ids_BT.shape[1] :].tolist()]


@contextmanager
def _no_settings_of_its_own(model: Any) -> Iterator[None]:
    """What a model folder's generation_config.json says (min-p, penalties, beams) would fill whatever we leave out."""
    from transformers import GenerationConfig

    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _settings(chat: Chat, max_new_tokens: int, temperature: float):  # type: ignore[no-untyped-def]
    from transformers import GenerationConfig

    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    # top_k 0 is said aloud: left out, transformers falls back to 50.
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        top_k=0 if temperature > 0 else None,
        top_p=1.0 if temperature > 0 else None,
        repetition_penalty=1.0,
        eos_token_id=sorted(chat.stop_ids) or None,
        pad_token_id=chat.pad_id,
        **sampling,
    )


def _cut(ids: list[int], stop_ids: frozenset[int]) -> Completion:
    """Keep everything up to and with the first stop token."""
    for index, token in enumerate(ids):
        if token in stop_ids:
            return Completion(ids[: index + 1], True)
    return Completion(ids, False)
