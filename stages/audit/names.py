"""The names that `skip` takes: of checks, and of the findings that a check has under other names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from pipeline.errors import nearest

# Every check of checks.py, with the names of its findings where they differ from its own.
CHECKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "damaged_characters": (),
        "cut_off": (),
        "repeated_sentences": (),
        "very_long": (),
        "joined_rows": (),
        "comparison_says_little": (),
        "placeholder": (),
        "template_token": (),
        "personal_data": (),
        "secret": (),
        "judge_attack": (),
        "length_bias": (),
        "labels": ("rare_label",),
        "task_answers": ("task_answer",),
        "languages": (),
        "exact_duplicates": ("exact_duplicate",),
        "near_duplicates": ("near_duplicate",),
        "contradictions": ("contradiction", "preference_cycle", "opposite_ranking", "other_answer"),
        "leakage": ("leak", "near_leak"),
        "token_lengths": ("too_long",),
    }
)
LOADING = ("unreadable_file", "unreadable", "schema", "template")  # what training would stop at, too


def check_skip(skip: Sequence[str]) -> None:
    """ValueError, as configs raise it, for a name that cannot be left out."""
    known = {*CHECKS, *(name for names in CHECKS.values() for name in names), "blank_line"}
    for name in skip:
        if name in LOADING:
            raise ValueError(f"'{name}' cannot be skipped: training would stop there -> mend the data, or use `fix`")
        if name not in known:
            raise ValueError(f"there is no check '{name}' -> {nearest(name, known)}")


def is_run(check: str, skip: Collection[str]) -> bool:
    """Whether a check is neither left out itself nor by the names of all its findings."""
    found = CHECKS[check]
    return check not in skip and not (found and set(found) <= set(skip))
