"""Splits: golden decisions, worked out with sha256sum, and what must hold for any keys."""

from __future__ import annotations

import hashlib

import pytest

from pipeline.errors import DataError
from stages.formats import Comparison, Instruction, Prompt, Ranking, in_part, is_heldout

KEYS = [f'[{{"content":"question {i}","role":"user"}}]' for i in range(2000)]
HASHES = [0.0156, 0.2622, 0.9961, 0.4012, 0.0162, 0.5033, 0.5613, 0.4234, 0.3440, 0.6303, 0.7226, 0.1766]
ASK, SAY, MORE = ({"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Yo"), ("user", "Bye")))


@pytest.mark.parametrize("i, value", enumerate(HASHES))
def test_is_heldout_decides_by_the_hash_when_fractions_enclose_it(i, value):
    assert is_heldout(KEYS[i], value + 1e-4, "posttune")
    assert not is_heldout(KEYS[i], value - 1e-4, "posttune")


def test_is_heldout_keeps_its_decisions_when_the_fraction_is_a_fifth():
    assert [i for i in range(12) if is_heldout(KEYS[i], 0.2, "posttune")] == [0, 4, 11]


def test_in_part_keeps_its_decisions_when_halved():
    assert [i for i in range(12) if in_part(KEYS[i], "1/2", "posttune")] == [0, 2, 6, 9, 10, 11]


def test_split_agrees_with_hashlib_when_computed_from_its_definition():
    for key in KEYS[:50]:
        number = int(hashlib.sha256(("salt" + key).encode()).hexdigest()[:16], 16)
        assert is_heldout(key, 0.3, "salt") == (number / 2**64 < 0.3)


def test_parts_cover_each_key_once_when_there_are_three():
    assert all(sum(in_part(key, f"{i}/3", "s") for i in (1, 2, 3)) == 1 for key in KEYS)


def test_parts_are_independent_of_the_split_when_the_salt_is_the_same():
    heldout = [key for key in KEYS if is_heldout(key, 0.2, "posttune")]
    half = sum(in_part(key, "1/2", "posttune") for key in heldout)
    assert abs(len(heldout) / len(KEYS) - 0.2) < 0.03 and abs(half / len(heldout) - 0.5) < 0.08


@pytest.mark.parametrize("part", ["3/2", "0/2", "half", "1/x"])
def test_in_part_fails_when_there_is_no_such_part(part):
    with pytest.raises(DataError):
        in_part("key", part, "s")


def test_prompt_keys_are_equal_when_records_share_the_prompt():
    prompt, pair = Prompt("1", (ASK,)), Comparison("2", (ASK,), ("a", "b"), (Ranking("x", (1, 2)),))
    assert (
        prompt.prompt_key
        == pair.prompt_key
        == Instruction("3", (ASK, SAY)).prompt_key
        == '[{"content":"Hi","role":"user"}]'
    )


def test_all_turns_of_a_conversation_stay_on_one_side_when_a_prompt_continues_it():
    longer = Prompt("1", (ASK, SAY, MORE))
    assert (
        longer.split_key == Instruction("2", (ASK, SAY, MORE, SAY)).split_key == Instruction("3", (ASK, SAY)).split_key
    )
    assert longer.prompt_key != Prompt("4", (ASK,)).prompt_key
