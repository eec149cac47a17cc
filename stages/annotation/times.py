"""When something was said: every time that tools, spreadsheets and pages write, in one form.

That form is ISO 8601 in UTC with microseconds, always 27 characters, so that texts sort as times do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

MECHANICAL_TURK = re.compile(r"\w{3} (\w{3} \d\d [\d:]{8}) (PST|PDT|UTC|GMT) (\d{4})")
ZONES = {"PST": "-0800", "PDT": "-0700"}
EARLIEST = datetime.min.replace(tzinfo=UTC)  # for sorting what has no time


def moment(value: Any) -> datetime | None:
    """The time in UTC of a text or of seconds since 1970; one without a zone is taken for UTC. None: it is no time."""
    try:
        if isinstance(value, str):
            found = _of_text(value.strip())
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        else:
            return None
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def written(value: Any) -> str | None:
    """The same in the one form, as 2026-11-23T18:00:00.000000Z."""
    found = moment(value)
    return found.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" if found else None


def _of_text(text: str) -> datetime:
    if found := MECHANICAL_TURK.fullmatch(text):
        return datetime.strptime(f"{found[1]} {found[3]} {ZONES.get(found[2], '+0000')}", "%b %d %H:%M:%S %Y %z")
    return datetime.fromisoformat(text)
