"""What a reward model's readers are told of it: its held-out figures, in the `posttune.json` that goes with it."""

from __future__ import annotations

from typing import Literal

from pipeline.contract import Frozen

NOTE = "heldout"  # the key in posttune.json
FEW_PROMPTS = 10  # with fewer, resampling them says nothing

Interval = tuple[float, float, float]  # mean, low, high


class Standing(Frozen):
    """How it orders held-out pairs, with 95% intervals by bootstrap over prompts."""

    num_pairs: int
    num_prompts: int
    accuracy: Interval  # the share of pairs that it orders as people did; 0.5 is chance
    length_rule: Literal["longer", "shorter"]  # what length alone would say: which of two answers wins
    over_length: Interval  # that share, less the one of the rule on the same pairs

    @property
    def too_few(self) -> str:
        """Why an interval over prompts would say nothing; empty where it says something."""
        return too_few(self.num_pairs, self.num_prompts)


def too_few(num_pairs: int, num_prompts: int) -> str:
    """The same, of so many pairs."""
    return f"too few: {num_pairs} pairs of {num_prompts} prompts" if num_prompts < FEW_PROMPTS else ""
