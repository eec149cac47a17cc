"""Whatever a file holds, the audit ends, and every row is either good or refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from audited import findings, look
from hypothesis import given, settings
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.text(max_size=60) | st.sampled_from(["yes", "{", "\u00c3\u00a9", "card 4539 1488 0343 6467", "a@b.de", " "])
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "bot"]), "content": TEXT | VALUES}
)
CHAT = st.fixed_dictionaries({"messages": st.lists(TURN, max_size=4) | VALUES})
RANKED = st.fixed_dictionaries({
    "prompt": TEXT, "completions": st.lists(TEXT, max_size=4),
    "ranks": st.lists(st.integers(0, 4) | st.none(), max_size=4), "annotator": st.sampled_from(["a", "b", None]),
})  # fmt: skip


def audited(lines: bytes) -> tuple[int, int, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        found = look(Path(folder), lines, split=None)
        return found.num_rows, found.num_refused, findings(found)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHAT, min_size=1, max_size=8) | st.lists(RANKED, min_size=1, max_size=8))
def test_rows_are_good_or_refused_when_they_are_nearly_right(rows: list[dict[str, Any]]) -> None:
    good, refused, told = audited("".join(json.dumps(row) + "\n" for row in rows).encode())
    unread = any(one["check"] == "unreadable_file" for one in told)  # of no known format: said of the file
    assert good + refused == len(rows) or (unread and good == 0)
    assert refused == len({one["row"] for one in told if one["check"] in ("schema", "unreadable")})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=6))
def test_every_line_is_accounted_for_when_lines_are_bytes(lines: list[bytes]) -> None:
    rows = [b'{"text": "A sound row."}', *lines, b'{"text": "Another sound row."}']
    good, refused, told = audited(b"\n".join(rows) + b"\n")
    assert good + refused + sum(one["check"] == "blank_line" for one in told) == len(rows)
