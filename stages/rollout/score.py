"""One path from given sequences to log-probabilities, values and scores; every objective and evaluation shares it.

Rows lie end to end without padding, an equal prompt is computed once (modeling/ragged.py), and a head is
applied only where a number is read off: the language-model head before each completion token, a value head
there too, a score head at the last token. Shapes as in sequences.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from stages.modeling.backbone import Backbone
from stages.modeling.batches import split_by_length
from stages.modeling.chat import Encoded
from stages.modeling.heads import ScalarHead
from stages.modeling.ragged import Group, Ragged
from stages.objectives.kl import exact_kl
from stages.objectives.logprobs import scored_logprobs, scored_logprobs_and_entropy
from stages.rollout.sequences import Sequences

ROWS_A_CHUNK = 256  # of full float32 log-probabilities: 50 MB for a vocabulary of 49152
TOKENS_A_BATCH = 4096  # of a pass without gradients: about 10 MB of hidden states for a 135M model


def logprobs(backbone: Backbone, role: str, sequences: Sequences, temperature: float = 1.0) -> Tensor:
    """Log-probability (nats) of each completion token under the role, [B, R]. Gradients flow where enabled."""
    states_ND, targets_N = _predicting_states(backbone, role, sequences)
    return sequences.scatter(scored_logprobs(states_ND, backbone.lm_head(role), targets_N, temperature))


def encoded_logprobs(backbone: Backbone, role: str, rows: Sequence[Encoded]) -> Tensor:
    """Log-probability of each token that counts in the loss of whole conversations, end to end: [N]."""
    ragged = Ragged([Group(row.input_ids, []) for row in rows])
    place_N = torch.tensor([ragged.place(index, t - 1) for index, row in enumerate(rows) for t in row.trained])
    target_N = torch.tensor([row.input_ids[t] for row in rows for t in row.trained])
    hidden_MD = backbone.hidden(role, ragged)
    place_N, target_N = place_N.to(hidden_MD.device), target_N.to(hidden_MD.device)
    return scored_logprobs(hidden_MD[place_N], backbone.lm_head(role), target_N, temperature=1.0)


@torch.no_grad()
def logprobs_and_entropy(
    backbone: Backbone, role: str, sequences: Sequences, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token and the entropy (nats) of the distribution it came from, both [B, R]."""
    states_ND, targets_N = _predicting_states(backbone, role, sequences)
    found_N, entropy_N = scored_logprobs_and_entropy(states_ND, backbone.lm_head(role), targets_N, temperature)
    return sequences.scatter(found_N), sequences.scatter(entropy_N)


@torch.no_grad()
def token_kl(backbone: Backbone, role: str, reference: str, sequences: Sequences, temperature: float = 1.0) -> Tensor:
    """KL(role || reference) over the whole vocabulary before each completion token, nats, [B, R]; never negative.

    Summed over the role's own samples it is the sequence KL with less noise than the log-ratio of the tokens.
    """
    ours_ND, _ = _predicting_states(backbone, role, sequences)
    theirs_ND, _ = _predicting_states(backbone, reference, sequences)
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
    return sequences.scatter(torch.cat(parts).clamp_min(0))  # rounding alone takes it below


def values(backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences) -> Tensor:
    """The value of the state before each completion token, [B, R]."""
    states_ND, _ = _predicting_states(backbone, role, sequences)
    return sequences.scatter(head(states_ND))


def scores(backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences) -> Tensor:
    """The raw reward score of each row [B], read at its last token, the end-of-turn where there is one."""
    return _read_off(head, backbone.hidden(role, sequences.ragged), sequences)


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
def normalised_scores(backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences) -> Tensor:
    """`all_scores` in deviations of the answers that the reward model was normalised on, [B]."""
    return _normalised(all_scores(backbone, role, head, sequences), head)


@torch.no_grad()
def normalised_scores_and_states(
    backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences
) -> tuple[Tensor, list[Tensor]]:
    """Also the states before each row's completion tokens, [its tokens, D] on the CPU, from the same forward."""
    result = torch.zeros(len(sequences))
    states: dict[int, Tensor] = {}
    for rows, part, hidden_MD in _by_length(backbone, role, sequences):
        result[torch.tensor(rows)] = _read_off(head, hidden_MD, part).cpu()
        own_ND = hidden_MD[part.predictors[0].to(hidden_MD.device)].cpu()
        states |= zip(rows, own_ND.split([len(c) for c in part.completions]), strict=True)
    return _normalised(result, head), [states[row] for row in range(len(sequences))]


@torch.no_grad()
def all_scores(backbone: Backbone, role: str, head: ScalarHead, sequences: Sequences) -> Tensor:
    """`scores` for many rows, grouped by length; float32 on the CPU, in the order given."""
    result = torch.zeros(len(sequences))
    for rows, part, hidden_MD in _by_length(backbone, role, sequences):
        result[torch.tensor(rows)] = _read_off(head, hidden_MD, part).cpu()
    return result


def _normalised(raw_B: Tensor, head: ScalarHead) -> Tensor:
    return (raw_B - head.mean.cpu()) / head.std.cpu()


def _read_off(head: ScalarHead, hidden_MD: Tensor, sequences: Sequences) -> Tensor:
    """Raw scores [B], each at its row's last token."""
    return head.raw(hidden_MD[sequences.last_B.to(hidden_MD.device)])


def _by_length(backbone: Backbone, role: str, sequences: Sequences) -> Iterator[tuple[list[int], Sequences, Tensor]]:
    """Rows of similar length, with their hidden states."""
    for rows in split_by_length(sequences.lengths, TOKENS_A_BATCH):
        part = sequences.select(rows)
        yield rows, part, backbone.hidden(role, part.ragged)


def _predicting_states(backbone: Backbone, role: str, sequences: Sequences) -> tuple[Tensor, Tensor]:
    hidden_MD = backbone.hidden(role, sequences.ragged)
    place_N, target_N = (t.to(hidden_MD.device) for t in sequences.predictors)
    return hidden_MD[place_N], target_N
