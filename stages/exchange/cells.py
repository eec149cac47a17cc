"""One cell of a spreadsheet: how a text is shown in it, and what a person typed into it.

What is shown is never read back: a text is known by its id. So a text may be changed to be shown safely.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pipeline.errors import DataError
from stages.annotation.schema import FLAGS
from stages.annotation.times import written

CELL_LIMIT = 32_767  # UTF-16 units in a cell, as Excel counts
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell of a CSV file that begins with one of these may be run (OWASP)
UNHOLDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML 1.0 has no place for
SKIP = "skip"
FLAG_WORDS = (*FLAGS, SKIP)  # what the column for flags may say


def visible(text: str) -> str:
    """`text` with a tag such as ⟨U+0000⟩ for each character that a spreadsheet cannot hold."""
    return UNHOLDABLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def units(text: str) -> int:
    """The length that Excel counts: most emoji are two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int = CELL_LIMIT) -> str:
    """The beginning of a text that is too long for a cell, with a note of what is missing."""
    note = f"\n[cut: the text has {len(text):,} characters, a cell holds {limit:,}]"
    kept = text.encode("utf-16-le", "surrogatepass")[: 2 * (limit - units(note))]
    return kept.decode("utf-16-le", "ignore") + note


def guarded(text: str) -> str:
    """`text` for a CSV file, after a ' where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def typed(cell: Any) -> str:
    """What was typed, as trimmed text; a leading ' (the spreadsheets' mark of text) and a number's .0 are taken off."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    text = str(cell).strip()
    return text[1:].lstrip() if text.startswith("'") else text


def letter(position: int) -> str:
    """A, B, ... Z, AA, ... for 0, 1, ...: the names of answers and of a spreadsheet's columns."""
    name, position = "", position + 1
    while position:
        position, rest = divmod(position - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def rank_of(cell: Any, count: int, where: str) -> int | None:
    """A rank typed as 1, 1.0, 1,0 or in full-width digits; None for an empty cell; DataError for anything else."""
    text = unicodedata.normalize("NFKC", typed(cell))
    if not text:
        return None
    found = re.fullmatch(r"0*(\d{1,9})([.,]0+)?", text) if not isinstance(cell, bool) else None
    if not found or not 1 <= int(found[1]) <= count:
        raise DataError(
            f"is {text[:40]!r}; a whole number from 1 (best) to {count}, or nothing, is allowed",
            where=where,
            remedy="equal numbers are a tie; leave the cell empty where you cannot rank",
        )
    return int(found[1])


def is_order(cell: Any) -> bool:
    """Whether a rank cell holds a whole order, such as A>B=C."""
    return bool(re.search("[>=]", typed(cell)))


def order_of(cell: Any, labels: Mapping[str, str], where: str) -> dict[str, int]:
    """Ranks by completion id of an order such as A>B=C>D; `labels` are folded names -> completion ids.

    Those not named are not ranked. DataError for an unknown name and for one named twice.
    """
    ranks: dict[str, int] = {}
    for rank, tier in enumerate(re.split("[>,]", typed(cell)), start=1):
        for name in (part.strip() for part in tier.split("=")):
            known = labels.get(name.casefold())
            if known is None or known in ranks:
                problem = "is named twice" if known else "is no answer of this task"
                raise DataError(
                    f"{name[:40]!r} {problem}; {', '.join(sorted(labels))[:200]} are its answers",
                    where=where,
                    remedy="write each answer once, best first: A>B=C>D, with = for a tie",
                )
            ranks[known] = rank
    return ranks


def flags_of(cells: Sequence[Any]) -> tuple[str, ...]:
    """Flags in one spelling (all_bad), each once, from cells that may hold several after commas."""
    parts = (part for cell in cells for part in re.split("[,;|]", typed(cell)))
    names = (re.sub(r"[\s_-]+", "_", part.strip().casefold()) for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))


def moment_of(cell: Any, where: str) -> str | None:
    """A date and time as `times.py` writes it; None for an empty cell, DataError for anything else."""
    text = typed(cell)
    found = written(text)
    if text and found is None:
        raise DataError(
            f"is {text[:40]!r}, which is no date and time",
            where=where,
            remedy="write 2026-11-23T18:00:00Z, or leave this column out of the map",
        )
    return found
