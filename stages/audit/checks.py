"""The checks by name. A new one is a function, or a class where it needs all rows, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from stages.audit.contradictions import Contradictions
from stages.audit.copies import ExactDuplicates, Leakage, NearDuplicates
from stages.audit.figures import Labels, Languages, LengthBias, TaskAnswers
from stages.audit.lengths import TokenLengths
from stages.audit.patterns import (
    Flaw,
    joined_rows,
    judge_attacks,
    personal_data,
    placeholders,
    secrets,
    template_tokens,
)
from stages.audit.rows import Row
from stages.audit.seen import Check, SourceCheck
from stages.audit.texts import comparison_says_little, cut_off, damaged_characters, repeated_sentences, very_long

ROW_CHECKS: Mapping[str, Callable[[Row], Iterator[Flaw]]] = MappingProxyType(
    {
        "damaged_characters": damaged_characters,
        "cut_off": cut_off,
        "repeated_sentences": repeated_sentences,
        "very_long": very_long,
        "joined_rows": joined_rows,
        "comparison_says_little": comparison_says_little,
        "placeholder": placeholders,
        "template_token": template_tokens,
        "personal_data": personal_data,
        "secret": secrets,
        "judge_attack": judge_attacks,
    }
)

SOURCE_CHECKS: Mapping[str, type[SourceCheck]] = MappingProxyType(
    {
        "length_bias": LengthBias,
        "labels": Labels,
        "task_answers": TaskAnswers,
        "languages": Languages,
    }
)

WHOLE_CHECKS: Mapping[str, type[Check]] = MappingProxyType(
    {
        "exact_duplicates": ExactDuplicates,
        "near_duplicates": NearDuplicates,
        "contradictions": Contradictions,
        "leakage": Leakage,
        "token_lengths": TokenLengths,
    }
)

# What a cleaned copy leaves out, by the name in the finding; True: also the rows that the finding relates it to.
LEAVE_OUT: Mapping[str, bool] = MappingProxyType(
    {
        "exact_duplicate": False,
        "near_duplicate": False,
        "leak": False,
        "near_leak": False,
        "contradiction": True,
        "preference_cycle": True,
        "template": False,
    }
)

# What a cleaned copy has no more: with what stages/formats refused, or passed over.
MENDED = frozenset({*LEAVE_OUT, "schema", "unreadable", "blank_line"})
