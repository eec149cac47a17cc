"""Random streams: numbers that a resumed run, another process and another year must find again."""

from __future__ import annotations

import subprocess
import sys

import torch

from stages.checkpoint.streams import permutation, stream

GOLDEN_ORDER = [5, 7, 6, 2, 4, 0, 3, 1]  # torch.randperm on the seed `printf '17|ppo|prompts|0' | b2sum -l 64` gives


def test_stream_gives_its_golden_seed() -> None:
    # 0x556a5962fa368651, from `printf '17|ppo|3' | b2sum -l 64`, modulo 2**63
    assert stream(17, "ppo", 3).initial_seed() == 6154830122394748497


def test_permutation_gives_its_golden_values() -> None:
    assert permutation(8, 17, "ppo", "prompts", 0) == GOLDEN_ORDER


def test_permutation_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from stages.checkpoint.streams import permutation; print(permutation(8, 17, 'ppo', 'prompts', 0))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "5", "PYTHONPATH": "."}
    )
    assert found.stdout.strip() == str(GOLDEN_ORDER), found.stderr


def test_purposes_seeds_and_numbers_give_different_streams() -> None:
    purposes = [(17, "a"), (18, "a"), (17, "b"), (17, "a", 0), (17, "a", 1), (17, "a", 1, 0), (1, "7a")]
    assert len({stream(*purpose).initial_seed() for purpose in purposes}) == len(purposes)


def test_permutation_holds_every_index_once() -> None:
    assert sorted(permutation(50, 1, "x")) == list(range(50))


def test_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    permutation(50, 1, "x")
    assert torch.equal(torch.rand(1), expected)
