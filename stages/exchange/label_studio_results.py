"""One Label Studio annotation's result items, as its web page writes them, made into ranks.

An item is known by its type and `from_name` alone: the page and API clients write different things into `to_name`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import DataError
from stages.annotation.schema import UNTOUCHED, Answer
from stages.exchange.judgements import dense_ranks
from stages.exchange.returned import number
from stages.formats.rules import describe

STEPS = {"slight": 1, "better": 2, "much": 3}
READ = ("choices", "rating", "ranker", "pairwise", "number", "textarea")  # types of items
Items = Sequence[tuple[str, Mapping[str, Any]]]  # (from_name, value) of one type


def judged(blank: Answer, items: Sequence[Any]) -> Answer:
    """`blank` with what an annotation's items say; its ranks are keyed by ids as they stand in the file."""
    by_type: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("value"), dict):
            raise DataError("has a result item without a value", remedy="export the project as JSON")
        by_type.setdefault(str(item.get("type")).lower(), []).append((str(item.get("from_name")), item["value"]))
    strength, flags = _choices(by_type.get("choices", []))
    ratings = {_place(blank, name): _number(value, "rating") for name, value in by_type.get("rating", [])}
    answer = _ranked(blank, by_type, strength, ratings)
    texts = [text for _, value in by_type.get("textarea", []) for text in _texts(value.get("text"))]
    return replace(
        answer,
        ratings={name: {"overall": value} for name, value in ratings.items()},
        flags=flags,
        comment="\n".join(texts),
        warnings=(*answer.warnings, *(f"not_read {kind}" for kind in sorted(set(by_type) - set(READ)))),
    )


def _ranked(blank: Answer, by_type: Mapping[str, Items], strength: str | None, ratings: Mapping[str, float]) -> Answer:
    """`blank` with ranks from the one tag that gives them."""
    rankers, pairs, numbers = (by_type.get(kind, []) for kind in ("ranker", "pairwise", "number"))
    if len(rankers) > 1 or len(pairs) > 1 or sum(map(bool, (rankers, pairs or strength, numbers))) > 1:
        raise DataError("ranks with several tags", remedy="keep one of Ranker, Pairwise and Number for the ranking")
    if rankers:
        ranks, plain = _tiers(rankers[0][1].get("ranker"))
        if plain and tuple(ranks) == blank.shown:
            return replace(blank, ranks=dense_ranks(ranks), touched=False, warnings=(UNTOUCHED,))
        return replace(blank, ranks=dense_ranks(ranks), touched=bool(ranks))
    if pairs or strength:
        ranks, steps = _pair(blank.shown, pairs[0][1].get("selected") if pairs else None, strength)
        return replace(blank, ranks=dense_ranks(ranks), strength=steps, touched=True)
    if numbers:
        return replace(blank, ranks=dense_ranks(_numbered(blank, numbers)), touched=True)
    if ratings:  # stars: more is better
        ranks = {name: -value for name, value in ratings.items()}
        return replace(blank, ranks=dense_ranks(ranks), touched=True, warnings=("ranks_from_ratings",))
    return replace(blank, touched=False)


def _numbered(blank: Answer, numbers: Items) -> dict[str, float]:
    ranks = {_place(blank, name): _number(value, "number") for name, value in numbers}
    for name, rank in ranks.items():
        if not 1 <= rank <= len(blank.shown):
            raise DataError(
                f"rank {rank:g} of {name} is out of range; 1 (best) to {len(blank.shown)} are allowed",
                remedy="open the task in Label Studio, mend the number and submit it again",
            )
    return ranks


def _tiers(value: Any) -> tuple[dict[str, float], bool]:
    """Places, and whether they come from a plain list, which may be the untouched order."""
    if not isinstance(value, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    ):
        raise DataError("has a ranking that is no lists of ids", remedy="export the project as JSON")
    names = [name for tier in value.values() for name in tier]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"ranks {twice[0]} twice", remedy="open the task in Label Studio and submit it again")
    plain = len(value) == 1 and "_" not in value
    if plain:
        return {name: rank for rank, name in enumerate(names, start=1)}, True
    ranks: dict[str, float] = {}
    for bucket, held in value.items():
        if bucket == "_":  # the list of what was not ranked
            continue
        place = re.search(r"\d{1,9}$", bucket)
        if place is None:
            raise DataError(f"has a bucket '{bucket}' without a number", remedy="call the buckets tier_1, tier_2, ...")
        ranks |= dict.fromkeys(held, int(place[0]))
    return ranks, False


def _pair(shown: Sequence[str], selected: Any, strength: str | None) -> tuple[dict[str, float], int | None]:
    if len(shown) != 2:
        raise DataError("is a choice between two, and its data do not say which", remedy="keep left_id and right_id")
    side, steps = _side(strength)
    if selected not in (None, "left", "right") or (selected and side and selected != side):
        raise DataError(
            f"selects {selected!r} and says {strength!r}",
            remedy="open the task in Label Studio, make the two agree and submit it again",
        )
    winner = side or selected
    if winner not in ("left", "right"):
        return dict.fromkeys(shown, 1), 0
    return {shown[0]: 1 + (winner == "right"), shown[1]: 1 + (winner == "left")}, steps


def _side(strength: str | None) -> tuple[str | None, int | None]:
    """(left, right or tie, steps) of an alias such as left_much."""
    if strength is None:
        return None, None
    if strength in ("tie", "both_bad"):
        return "tie", 0
    side, _, step = strength.partition("_")
    if side not in ("left", "right") or step not in STEPS:
        raise DataError(f"has the strength {strength!r}", remedy="use the aliases of the exported config.xml")
    return side, STEPS[step]


def _choices(items: Items) -> tuple[str | None, tuple[str, ...]]:
    strength, flags = None, []
    for name, value in items:
        chosen = value.get("choices")
        if not isinstance(chosen, list) or not all(isinstance(one, str) for one in chosen):
            raise DataError(f"has choices of '{name}' that are no list of texts", remedy="export the project as JSON")
        if name == "strength" and len(chosen) == 1:
            strength = chosen[0]
            flags += ["all_bad"] * (strength == "both_bad")
        elif name == "flags":
            flags += chosen
        elif chosen:
            flags += [f"{name}:{one}" for one in chosen]
    return strength, tuple(dict.fromkeys(flags))


def _place(blank: Answer, tag: str) -> str:
    """The completion that a tag such as rating_2 is about."""
    found = re.search(r"\d{1,9}$", tag)
    if not found or not 1 <= int(found[0]) <= len(blank.shown):
        raise DataError(f"has a tag '{tag}' of no completion", remedy="number the tags like completion_ids in the data")
    return blank.shown[int(found[0]) - 1]


def _number(value: Mapping[str, Any], key: str) -> float:
    found = number(value.get(key))
    if found is None:
        raise DataError(f"has a {key} that is {describe(value.get(key))}", remedy="enter a number")
    return found


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]
