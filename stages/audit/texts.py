"""What a text shows of how it was made: damaged characters, cut-off ends, loops, lengths that stand out."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator

from stages.audit.patterns import Flaw
from stages.audit.rows import Row, folded
from stages.formats.records import Comparison

# A character that UTF-8's first bytes become in Windows-1252 or Latin-1, and one that its later bytes become.
MIXED_UP = re.compile(
    "[\u00c2-\u00f4][\x80-\xbf\u20ac\u201a-\u201e\u0192\u2026\u2020\u2021\u02c6\u2030\u2039\u0152\u017d\u2018-\u201d\u2022\u2013\u2014\u02dc\u2122\u203a\u0153\u017e\u0178\u0160\u0161]"
)
INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
SENTENCE_ENDS = "!?\n\u3002\uff01\uff1f"  # and the full stop
LONG = 30_000  # characters; about 7,500 tokens
DANGLING = re.compile(  # a last word after which more must come
    r"(?:^|\s)(?:an?|the|of|to|and|or|but|with|for|from|in|on|at|by|as|that|which|who|because|if|than|into|this|these|"
    r"those|is|are|was|were|be|been|being|has|have|had|will|would|can|could|should|its|their|his|her|our|your|my|not|"
    r"very|such|also)$",
    re.IGNORECASE,
)
MIN_CUT = 120  # characters; in a shorter answer an odd end is more likely a style
MIN_SENTENCE, MANY_TIMES = 15, 4


def damaged_characters(row: Row) -> Iterator[Flaw]:
    """Mojibake (UTF-8 read as another encoding), replacement characters, control and invisible characters."""
    ascii_only = row.text.isascii()
    if ascii_only and row.text.replace("\n", "").replace("\t", "").isprintable():
        return
    for field, held in row.fields:
        if "\ufffd" in held:
            yield "warning", field, "holds the replacement character (U+FFFD): a character was lost in reading"
        if not ascii_only and MIXED_UP.search(held) and is_mojibake(held):
            yield "warning", field, f"looks like UTF-8 that was read as another encoding: {_around(held)!r}"
        if found := CONTROL.search(held):
            yield "note", field, f"holds a control character (U+{ord(found[0]):04X})"
        elif not ascii_only and (found := INVISIBLE.search(held, 1)):
            yield "note", field, f"holds a character that nobody sees (U+{ord(found[0]):04X})"


def is_mojibake(text: str) -> bool:
    """Whether ftfy, which knows how encodings get mixed up, would undo it."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    return bool(is_bad(text)) and fix_encoding(text) != text


def _around(text: str) -> str:
    found = MIXED_UP.search(text)
    return text[max(0, found.start() - 10) : found.end() + 10] if found else ""


def cut_off(row: Row) -> Iterator[Flaw]:
    """Answers that end where nobody would end them: after a comma or a word like "the", or in open code or JSON."""
    for field, held in row.answers:
        text = held.rstrip()
        if held.count("```") % 2:
            yield "warning", field, "ends inside a code block: the answer may be cut off"
        elif text[:1] in ("{", "[") and text[:2] not in ("[[", "{{") and _is_open(text):
            yield "warning", field, "ends inside JSON: the answer may be cut off"
        elif len(text) >= MIN_CUT and (text[-1] in ",;(" or DANGLING.search(text[-20:])):
            yield "warning", field, f"ends with {text.rsplit(None, 1)[-1][-20:]!r}: the answer may be cut off"


def _is_open(text: str) -> bool:
    """Whether more brackets are opened than closed, outside strings, in what begins as JSON."""
    if not re.match(r'[\[{]\s*(?:["\[{]|-?\d)', text):
        return False
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    return plain.count("{") + plain.count("[") > plain.count("}") + plain.count("]") or plain.count('"') % 2 == 1


def repeated_sentences(row: Row) -> Iterator[Flaw]:
    """An answer that is a third or more one sentence said again and again: a model that ran in a loop."""
    for field, held in row.answers:
        if len(held) < 4 * MIN_SENTENCE:
            continue
        pieces = [piece for piece in _one_end(held).split(".") if len(piece) >= MIN_SENTENCE]
        if pieces and len(set(pieces)) <= 0.8 * len(pieces):
            said, times = Counter(map(str.strip, pieces)).most_common(1)[0]
            if times >= MANY_TIMES and (times - 1) * len(said) >= len(held) / 3:
                yield "warning", field, f"says {said[:60]!r} {times} times"
                continue
        if len(held) > 2000 and len(zlib.compress(held.encode(), 1)) < 0.08 * len(held):
            yield "warning", field, "repeats itself: it shrinks to less than a twelfth when compressed"


def _one_end(text: str) -> str:
    """Every sentence ended by a full stop. `replace` is ten times as fast as `translate`, or a pattern."""
    for end in SENTENCE_ENDS:
        text = text.replace(end, ".")
    return text


def very_long(row: Row) -> Iterator[Flaw]:
    """Texts far longer than most models can read; above 100,000 characters stages/formats refuses a row."""
    for field, held in row.fields:
        if len(held) > LONG:
            yield "warning", field, f"has {len(held):,} characters: perhaps rows joined by mistake"


def comparison_says_little(row: Row) -> Iterator[Flaw]:
    """Comparisons without an order, with answers that differ in case or white space alone, or judged in part."""
    record = row.record
    if not isinstance(record, Comparison):
        return
    if all(len({rank for rank in ranking.ranks if rank is not None}) < 2 for ranking in record.rankings):
        yield "warning", "rankings", "every answer has the same rank: nothing is preferred"
    for number, ranking in enumerate(record.rankings):
        missing = ranking.ranks.count(None)
        if missing:
            yield "note", f"rankings[{number}].ranks", f"{missing} of {len(ranking.ranks)} answers are not ranked"
    if len(set(record.completions)) < len(record.completions):
        yield "note", "completions", "two of the answers are the same text"
    elif len({folded(text) for text in record.completions}) < len(record.completions):
        yield "warning", "completions", "two of the answers differ only in case, white space or the style of quotes"
