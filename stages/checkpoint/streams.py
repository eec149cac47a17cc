"""Randomness as a function of the seed and a purpose, so that a resume needs no saved generator state."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, e.g. `stream(17, "ppo", 3, "permutation", 0)`.

    Two purposes give independent streams; the same one always gives the same numbers.
    """
    text = "|".join(str(part) for part in (seed, *purpose))
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return torch.Generator().manual_seed(number % 2**63)


def permutation(size: int, seed: int, *purpose: str | int) -> list[int]:
    """A shuffled range."""
    return torch.randperm(size, generator=stream(seed, *purpose)).tolist()
