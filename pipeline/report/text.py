"""How values become text on the page: hidden characters made visible, numbers, durations, sizes.

Model output may hold characters that reorder or hide what stands around them. They are shown by name,
so that what a person reads is what the model wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

NOTHING = "\N{EN DASH}"

# C0 but tab and newline; DEL and C1; soft hyphen; Arabic letter mark; Mongolian vowel separator; zero-width
# characters and direction marks; line and paragraph separators; embeddings and overrides; invisible operators
# and isolates; byte order mark; interlinear marks; lone surrogates (UTF-8 cannot hold them); tag characters
# and the variation selectors of plane 14, which can smuggle text.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e01ef]"
)


def visible(text: str) -> str:
    """`text` with each control, bidi and zero-width character as a tag such as `[U+202E]`. Tab and newline stay."""
    return HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters, and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def number(value: float) -> str:
    """Four significant digits; whole numbers in full, with thousands separated."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.4g}" if abs(value) < 10**300 else "very large"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    whole = value.is_integer() and abs(value) < 1e15
    return f"{value:,.0f}" if whole or 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None:
        return NOTHING
    return number(value) if isinstance(value, (int, float)) else str(value)


def is_number(value: Any) -> TypeGuard[float]:
    """True for a finite int or float; a bool is no number here."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the range of float
        return False


def duration(seconds: Any) -> str:
    """`8.2 s`, `3 min 05 s`, `2 h 41 min`."""
    if not is_number(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(megabytes: Any) -> str:
    """Mebibytes as `640 MB` or `3.2 GB`."""
    if not is_number(megabytes):
        return NOTHING
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def plain(value: Any) -> str:
    """Text or a number as text, else nothing: anchors can make a short YAML file unfold without end."""
    return str(value) if isinstance(value, (str, int, float)) else ""
