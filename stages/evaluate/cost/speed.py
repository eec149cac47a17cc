"""How fast this machine answers: time to the first token and tokens a second, one prompt at a time."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.rollout.generate import generate

NUM_PROMPTS = 3
TIMED_TOKENS = 24  # of an answer at most: enough for a rate, and all that it takes of the evaluation's time


@dataclass(frozen=True)
class Speed:
    """Of calls one at a time (batch size 1), nothing cached between them."""

    first_token: float  # seconds, the median
    rate: float | None  # tokens a second after the first; None where one token is all that may be asked for

    def seconds(self, num_new: float) -> float | None:
        """Of a call with so many new tokens."""
        if num_new <= 1:
            return self.first_token
        return self.first_token + (num_new - 1) / self.rate if self.rate else None


def measure_speed(
    backbone: Backbone, role: str, chat: Chat, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> Speed:
    """The role's speed on NUM_PROMPTS of the prompts, short to long; ValueError if there is none.

    Each is asked for one token, then for as many as are timed, whether or not the model would end before: the rest of
    the time made the other tokens.
    """
    if not prompts:
        raise ValueError("there is no prompt to measure on")
    endless = copy.copy(chat)
    endless.stop_ids = frozenset()
    by_length, limit = sorted(prompts, key=len), min(max_new_tokens, TIMED_TOKENS)
    count = min(NUM_PROMPTS, len(by_length))
    picked = [by_length[(2 * i + 1) * len(by_length) // (2 * count)] for i in range(count)]
    _timed(
        backbone, role, endless, picked[0], min(2, max_new_tokens)
    )  # the first call of all allocates, compiles, loads
    firsts, num_more, seconds_more = [], 0, 0.0
    for prompt in picked:
        first, _ = _timed(backbone, role, endless, prompt, 1)
        whole, num_new = _timed(backbone, role, endless, prompt, limit)
        firsts.append(first)
        num_more += num_new - 1
        seconds_more += max(0.0, whole - first) if num_new > 1 else 0.0
    return Speed(median(firsts), num_more / seconds_more if seconds_more > 0 else None)


def _timed(backbone: Backbone, role: str, chat: Chat, prompt: Sequence[int], max_new_tokens: int) -> tuple[float, int]:
    """Seconds, and new tokens. Tokens come back as Python numbers, so a GPU has finished by then."""
    start = time.perf_counter()
    (completion,) = generate(
        backbone, role, chat, [prompt], max_new_tokens=max_new_tokens, temperature=0.0, seed=0, purpose="speed"
    )
    return time.perf_counter() - start, len(completion.ids)
