"""Best-of-n: of n answers, keep the one that scores highest. What that picks, without sampling anew.

Shapes: K answers to one prompt, n of which are drawn without replacement.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def best_of(score_K: Tensor, gold_K: Tensor, n: int) -> float:
    """Expected gold of the highest-scored of n of the K answers: sum_i C(i - 1, n - 1) / C(K, n) * gold_(i).

    gold_(i): the gold of the answer with the i-th lowest score; answers of one score share their mean, as a tie is
    broken at random. Unbiased for n fresh answers of what wrote the K (Nakano et al. 2021, appendix I). n = 1 gives the
    mean, n = K the gold of the best score. gold_K = score_K gives the proxy's own gain. Raises ValueError unless
    1 <= n <= K and there are as many golds as scores.
    """
    if len(score_K) != len(gold_K) or not 1 <= n <= len(score_K):
        raise ValueError(f"best of {n} needs as many scores with their gold, found {len(score_K)} and {len(gold_K)}")
    levels, level_K = torch.unique(score_K, return_inverse=True)
    sum_L = torch.zeros(len(levels), dtype=torch.float64).index_add(0, level_K, gold_K.double())
    shared_K = (sum_L / level_K.bincount())[level_K]
    ways_K = torch.tensor([math.comb(i, n - 1) for i in range(len(score_K))], dtype=torch.float64)
    return float((ways_K * shared_K[score_K.argsort()]).sum() / math.comb(len(score_K), n))


def best_of_kl(n: int) -> float:
    """log n - (n - 1) / n nats: KL from what wrote the answers to its best-of-n, at most (Beirami et al. 2024, thm 1).

    Exact where no two answers are alike; 0 at n = 1. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"best of {n}: there must be one answer at least")
    return math.log(n) - (n - 1) / n
