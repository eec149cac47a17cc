"""Log-probabilities, values and scores of given sequences, by one forward without padding logits.

The language-model head is applied only where a completion token is predicted. Shapes as in sequences.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stages.modeling.backbone import Backbone
from stages.modeling.batches import right_pad, split_by_length
from stages.modeling.heads import ScalarHead
from stages.objectives.kl import exact_kl
from stages.objectives.logprobs import scored_logprobs
from stages.rollout.sequences import Sequences

ROWS_A_CHUNK = 256  # of full float32 log-probabilities: 50 MB for a vocabulary of 49152
TOKENS_A_BATCH = 4096  # of a pass without gradients: about 10 MB of hidden states for a 135M model


def logprobs(
    backbone: Backbone, role: str, sequences: Sequences, pad_id: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability (nats) of each completion token under the role, and the entropy there; both [B, R].

    Gradients flow where they are enabled.
    """
    hidden_ND, targets_N = _predicting_states(backbone, role, sequences, pad_id)
    logprobs_N, entropy_N = scored_logprobs(hidden_ND, backbone.lm_head(role), targets_N, temperature)
    return sequences.scatter(logprobs_N), sequences.scatter(entropy_N)


@torch.no_grad()
def token_kl(
    backbone: Backbone, role: str, reference: str, sequences: Sequences, pad_id: int, temperature: float = 1.0
) -> Tensor:
    """KL(role || reference) over the whole vocabulary before each completion token, nats, [B, R]; never negative.

    Summed over the role's own samples it is the sequence KL with less noise than the log-ratio of the tokens.
    """
    ours_ND, _ = _predicting_states(backbone, role, sequences, pad_id)
    theirs_ND, _ = _predicting_states(backbone, reference, sequences, pad_id)
    our_head, their_head = backbone.lm_head(role), backbone.lm_head(reference)
    parts = [
        exact_kl(
            *(
                ((states @ head.T).float() / temperature).log_softmax(-1)
                for states, head in ((ours, our_head), (theirs, their_head))
            )
        )
        for ours, theirs in zip(ours_ND.split(ROWS_A_CHUNK), theirs_ND.split(ROWS_A_CHUNK), strict=True)
    ]
    return sequences.scatter(torch.cat(parts))


def values(backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences, pad_id: int) -> Tensor:
    """The value of the state before each completion token, [B, R]."""
    hidden_ND, _ = _predicting_states(backbone, role, sequences, pad_id)
    return sequences.scatter(head(hidden_ND))


def scores(backbone: Backbone, role: str, head: ScalarHead, rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """The raw reward score of each whole row [B], read at its last token, the end-of-turn where there is one."""
    padded = right_pad(rows, pad_id, backbone.device)
    hidden_BTD = backbone.hidden(role, padded.ids_BT, padded.mask_BT)
    return head.raw(hidden_BTD[torch.arange(len(rows), device=hidden_BTD.device), padded.last_B])


@torch.no_grad()
def in_batches(score: Callable[[Sequences], Tensor | tuple[Tensor, ...]], sequences: Sequences) -> tuple[Tensor, ...]:
    """Apply a scorer that gives [B, R] tensors to many sequences, grouped by length, and put the rows back in order."""
    width = sequences.mask_BR.shape[1]
    results: list[Tensor] = []
    for rows in split_by_length(sequences.lengths, TOKENS_A_BATCH):
        given = score(sequences.select(rows))
        parts = given if isinstance(given, tuple) else (given,)
        if not results:
            results = [torch.zeros(len(sequences), width) for _ in parts]
        for result, part in zip(results, parts, strict=True):
            result[torch.tensor(rows), : part.shape[1]] = part.float().cpu()
    return tuple(results)


@torch.no_grad()
def score_rows(backbone: Backbone, role: str, head: ScalarHead, rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """`scores` for many rows, grouped by length; float32 on the CPU, in the order given."""
    result = torch.zeros(len(rows))
    for group in split_by_length([len(row) for row in rows], TOKENS_A_BATCH):
        result[torch.tensor(group)] = scores(backbone, role, head, [rows[i] for i in group], pad_id).cpu()
    return result


def _predicting_states(backbone: Backbone, role: str, sequences: Sequences, pad_id: int) -> tuple[Tensor, Tensor]:
    padded = sequences.padded(pad_id, backbone.device)
    hidden_BTD = backbone.hidden(role, padded.ids_BT, padded.mask_BT)
    row_N, position_N, target_N = (t.to(backbone.device) for t in sequences.predictors())
    return hidden_BTD[row_N, position_N], target_N
