"""The decode loop: one prefill for all samples of a prompt, ended rows dropped, log-probabilities kept.

A row draws from a stream of its own by inverse transform, one uniform number a token: which other rows share its
batch changes nothing but the rounding of its logits. Shapes: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.errors import StageFailed
from stages.modeling.growing import Growing
from stages.modeling.roles import Backbone
from stages.rollout.replay import Steps

# The share of ended rows at which dropping them pays for copying the others' cache, and on a GPU for recording anew.
DROP_AT = {"cpu": 0.25, "cuda": 0.75}
BLOCK = 256  # tokens whose probability is added up before a draw looks at them one by one


@dataclass
class Decoded:
    """A row's new tokens, the stop token included; log-probabilities and entropies (nats) of where they came from."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    ended: bool = False


@torch.no_grad()
def decode(
    backbone: Backbone,
    role: str,
    prompts: Sequence[Sequence[int]],
    draws: Tensor | None,
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    temperature: float,
) -> list[Decoded]:
    """Complete each prompt. `draws` are uniform numbers in [0, 1), [B, max_new_tokens]; None takes the likeliest token.

    Greedy log-probabilities are those at temperature 1.
    """
    rows, head_VD = Growing(prompts, backbone.device), backbone.lm_head(role)
    next_states, drop_at = Steps(backbone, role), DROP_AT.get(backbone.device.type, 0.75)
    found = [Decoded() for _ in prompts]
    alive = list(range(len(prompts)))  # the prompt of each row that is still computed
    with backbone.products():  # round all steps, for what it casts it keeps until it ends
        states_BD = backbone.hidden(role, rows)[rows.last_B]
        for step in range(max_new_tokens):
            logits_BV = (states_BD.to(head_VD.dtype) @ head_VD.T).float()
            if draws is not None and temperature != 1:
                logits_BV /= temperature
            ids_B, logprob_B, entropy_B = _chosen(role, logits_BV, None if draws is None else draws[alive, step])
            _record([found[i] for i in alive], ids_B, logprob_B, entropy_B, stop_ids)
            going = [place for place, i in enumerate(alive) if not found[i].ended]
            if not going:
                break
            if len(going) <= (1 - drop_at) * len(alive):
                rows.keep(going)
                ids_B, alive = ids_B[going], [alive[place] for place in going]
            if step + 1 < max_new_tokens:
                states_BD = next_states(rows.grow(ids_B))
    return found


def _chosen(role: str, logits_BV: Tensor, uniform_B: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Each row's next token, by its uniform number or the likeliest; its log-probability and the entropy, nats; [B]."""
    probabilities_BV = logits_BV.softmax(-1)
    peak_B, likeliest_B = logits_BV.max(-1)
    total_B = peak_B - probabilities_BV.amax(-1).log()  # logsumexp
    if total_B.isnan().any():  # as it is where a single logit is
        raise StageFailed(
            "the model's logits are not numbers",
            where=role,
            remedy="check model.dtype, or lower the learning_rate of the stage that made it",
        )
    ids_B = likeliest_B if uniform_B is None else draw(probabilities_BV, uniform_B).to(logits_BV.device)
    logprob_B = logits_BV.gather(1, ids_B[:, None])[:, 0] - total_B
    return ids_B, logprob_B, total_B - probabilities_BV.mul_(logits_BV).sum(-1)  # autocast would round a vecdot


def draw(probabilities_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Token ids [B]: the least one whose cumulative probability exceeds the row's uniform number.

    First among blocks of tokens, then within one, in float64: adding up 50,000 float32 numbers would lose the tail.
    On the CPU, wherever the probabilities are: a GPU's running sums do not repeat their last digits.
    """
    num_rows, vocabulary = probabilities_BV.shape
    blocks = torch.nn.functional.pad(probabilities_BV, (0, -vocabulary % BLOCK)).view(num_rows, -1, BLOCK)
    block_B, within_B = _pick(blocks.sum(-1).cpu(), uniform_B.double())
    token_B, _ = _pick(blocks[torch.arange(num_rows), block_B].cpu(), within_B)
    return block_B * BLOCK + token_B


def _pick(weights_BN: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """The place [B] that the uniform number falls in, in proportion to the weights, and how far into it, in [0, 1)."""
    ends_BN = weights_BN.double().cumsum(-1)
    at_B = uniform_B.clamp(max=1 - 1e-12) * ends_BN[:, -1]  # below the last end, whatever the rounding
    place_B = torch.searchsorted(ends_BN, at_B[:, None], right=True)
    end_B, weight_B = (x.gather(1, place_B)[:, 0] for x in (ends_BN, weights_BN.double()))
    return place_B[:, 0], ((at_B - (end_B - weight_B)) / weight_B).clamp_min(0)


def _record(
    rows: Sequence[Decoded], ids_B: Tensor, logprob_B: Tensor, entropy_B: Tensor, stop_ids: frozenset[int]
) -> None:
    """Add the new token to each row that has not ended."""
    given = zip(rows, ids_B.tolist(), logprob_B.tolist(), entropy_B.tolist(), strict=True)
    for row, token, logprob, entropy in given:
        if not row.ended:
            row.ids.append(token)
            row.logprobs.append(logprob)
            row.entropies.append(entropy)
            row.ended = token in stop_ids
