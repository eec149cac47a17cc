"""What a row must fulfil, whatever its format. Each failure is a DataError whose `where` is the field.

`load` puts the file and the row number in front of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from pipeline.errors import DataError, nearest
from stages.formats.records import Comparison, Instruction, Message, Prompt, Ranking, row_id

MAX_CHARACTERS = 100_000  # about 25,000 tokens: far past any max_length here, and nearly always rows joined by mistake
UNNAMED = "unnamed"  # the annotator of rows that do not say who ranked


def need(row: Mapping[str, Any], key: str, inside: str = "") -> Any:
    """The value of `key` in a row, or in an object `inside` it; DataError with the nearest key there is."""
    if key not in row:
        held = "the object" if inside else "the row"
        remedy = f"add it ({nearest(key, map(str, row))})" if row else "add it"
        if not inside:
            remedy += ", or name the column that holds it under `map`"
        raise DataError(
            f"missing; {held} has {', '.join(map(str, row)) or 'no keys'}",
            where=f"{inside}.{key}" if inside else key,
            remedy=remedy,
        )
    return row[key]


def text(value: Any, field: str) -> str:
    """`value`, if it is text that can be written as UTF-8, has no NUL and is not absurdly long."""
    if not isinstance(value, str):
        raise DataError(f"is {describe(value)}; text is allowed", where=field, remedy="make it text")
    if len(value) > MAX_CHARACTERS:
        raise DataError(
            f"has {len(value):,} characters; at most {MAX_CHARACTERS:,} are allowed",
            where=field,
            remedy="split or shorten the row, or leave it out",
        )
    if "\x00" in value:
        raise DataError(f"has a NUL character at position {value.index(chr(0))}", where=field, remedy="remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"has half of a surrogate pair at position {error.start}; whole characters are allowed",
            where=field,
            remedy="write the row again from its source as UTF-8",
        ) from error
    return value


def filled(value: Any, field: str) -> str:
    """Text with something other than white space in it."""
    held = text(value, field)
    if not held.strip():
        raise DataError("is empty or white space; text is needed", where=field, remedy="fill it in, or remove the row")
    return held


def listed(value: Any, field: str) -> list[Any]:
    """A list, also one written as JSON text (as CSV columns and some exports hold it)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"looks like a JSON list and is not one ({error})", where=field, remedy="mend the JSON"
            ) from error
    if not isinstance(value, list):
        raise DataError(f"is {describe(value)}; a list is allowed", where=field, remedy="make it a list")
    return value


def parsed(value: Any, field: str) -> Any:
    """What JSON text says; anything else is itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON ({error})", where=field, remedy="mend the JSON") from error


def number(value: Any, field: str) -> float:
    """A finite number, also one written as text (as CSV columns hold it)."""
    held = value
    if isinstance(value, str):
        try:
            held = float(value)
        except ValueError:
            held = None
    if isinstance(held, bool) or not isinstance(held, (int, float)) or not -math.inf < held < math.inf:
        found = repr(value[:40]) if isinstance(value, str) else describe(value)
        raise DataError(f"is {found}; a number is needed", where=field, remedy="write a number")
    return held


def describe(value: Any) -> str:
    """A word for a value's JSON type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else type(value).__name__


def turns(messages: Sequence[Message], field: str) -> None:
    """At least one user turn; none empty (tool calls may stand for an answer's text); user and assistant alternate."""
    if not any(message["role"] == "user" for message in messages):
        raise DataError("no user turn; at least one is needed", where=field, remedy="add the user's message")
    before = ""
    for index, message in enumerate(messages):
        role, place = message["role"], f"{field}[{index}]"
        if role == "user" or (role == "assistant" and not message.get("tool_calls")):
            filled(message["content"], f"{place}.content")
        if role == before and role in ("user", "assistant"):
            raise DataError(
                f"two {role} turns in a row; user and assistant alternate",
                where=place,
                remedy="join the two turns, or remove one",
            )
        before = before if role == "system" else role


def instruction(row: Mapping[str, Any], messages: Sequence[Message], tools: list[Any] | None = None) -> Instruction:
    """The record of a conversation that ends with an answer."""
    turns(messages, "messages")
    if messages[-1]["role"] != "assistant":
        raise DataError(
            f"the last turn is the {messages[-1]['role']}'s; an assistant's is needed",
            where="messages",
            remedy="add the answer, or use the rows as prompts",
        )
    content: dict[str, Any] = {"messages": messages} | ({"tools": tools} if tools else {})
    return Instruction(row_id(row, content), tuple(messages), tools)


def references(answers: Sequence[str]) -> tuple[str, ...]:
    """Right answers, each once, where there are several; one is the last turn, which needs no saying twice."""
    different = tuple(dict.fromkeys(answers))
    return different if len(different) > 1 else ()


def open_prompt(messages: Sequence[Message], field: str = "prompt") -> tuple[Message, ...]:
    """Messages that an answer can follow."""
    turns(messages, field)
    if messages[-1]["role"] not in ("user", "tool"):
        raise DataError(
            f"the last turn is the {messages[-1]['role']}'s; the user's (or a tool's) is needed",
            where=field,
            remedy="end the prompt where the answer begins",
        )
    return tuple(messages)


def prompt(row: Mapping[str, Any], messages: Sequence[Message], reference: Any = None) -> Prompt:
    """The record of a prompt; `documents` are taken from the row."""
    messages, documents = open_prompt(messages), row.get("documents")
    content = {"prompt": messages, "reference": reference, "documents": documents}
    content = {key: value for key, value in content.items() if value is not None}
    return Prompt(row_id(row, content), tuple(messages), reference, documents)


def comparison(
    row: Mapping[str, Any], messages: Sequence[Message], completions: Sequence[Any], rankings: Sequence[Ranking]
) -> Comparison:
    """The record of a comparison whose rankings were made by `dense`, `ranked` or `scored`."""
    messages = open_prompt(messages)
    answers = tuple(filled(value, f"completions[{i}]") for i, value in enumerate(completions))
    if len(answers) < 2:
        raise DataError(
            f"{len(answers)} completion; a comparison needs at least 2",
            where="completions",
            remedy="add another answer, or remove the row",
        )
    if not rankings:
        raise DataError(
            "no ranking; at least one annotator's is needed", where="rankings", remedy="add one, or remove the row"
        )
    for ranking in rankings:
        _check_copies(answers, ranking)
    content = {"prompt": messages, "completions": answers, "rankings": [[r.annotator, r.ranks] for r in rankings]}
    return Comparison(row_id(row, content), messages, answers, tuple(rankings), row.get("source"))


def pair(row: Mapping[str, Any], messages: Sequence[Message], chosen: str, rejected: str) -> Comparison:
    """The comparison of two answers, of which the first is better; identical ones are an error."""
    if chosen == rejected:
        raise DataError("is the same text as rejected", where="chosen", remedy="remove the row: it says nothing")
    return comparison(row, messages, [chosen, rejected], [Ranking(annotator_name(row.get("annotator")), (1, 2))])


def ranked(annotator: Any, values: Any, count: int, field: str) -> Ranking:
    """Ranks as given: numbers from 1 (best) to the number of completions, equal for a tie, null for not ranked."""
    given = numbers(values, count, field)
    for index, value in enumerate(given):
        if value is not None and not 1 <= value <= count:
            raise DataError(
                f"rank {value} is out of range; 1 (best) to {count} are allowed",
                where=f"{field}[{index}]",
                remedy="count ranks from 1; for numbers of another scale use `scores`, higher is better",
            )
    return Ranking(annotator_name(annotator), dense(given))


def scored(annotator: Any, values: Any, count: int, field: str) -> Ranking:
    """Scores, higher is better, as ranks."""
    given = numbers(values, count, field)
    return Ranking(annotator_name(annotator), dense([None if value is None else -value for value in given]))


def dense(values: Sequence[float | None]) -> tuple[int | None, ...]:
    """Numbers, lowest is best, as ranks that count from 1 without gaps; None stays None."""
    order = {value: rank for rank, value in enumerate(sorted({v for v in values if v is not None}), start=1)}
    return tuple(None if value is None else order[value] for value in values)


def weight(value: Any, field: str) -> float:
    """How much a ranking's votes count: 1 where the row does not say."""
    if value is None:
        return 1.0
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1e300:
        raise DataError(
            f"is {describe(value)}; a number from 0 is allowed",
            where=field,
            remedy="give 1 for a usual vote, more or less for one that counts more or less, 0 for one not to be heard",
        )
    return float(value)


def numbers(values: Any, count: int, field: str) -> list[float | None]:
    """One finite number or null for each of `count` completions, at least one of them a number."""
    given = listed(values, field)
    if len(given) != count:
        raise DataError(
            f"{len(given)} values for {count} completions; one each is needed",
            where=field,
            remedy="give each completion its own, null where it was not judged",
        )
    for index, value in enumerate(given):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf
        if value is not None and not number:
            raise DataError(
                f"is {describe(value)}; a number or null is allowed",
                where=f"{field}[{index}]",
                remedy="write a number without quotes",
            )
    if all(value is None for value in given):
        raise DataError("all null; at least one completion must be judged", where=field, remedy="remove the ranking")
    return given


def annotator_name(name: Any) -> str:
    """A name for who ranked; `UNNAMED` where the row does not say."""
    if name is None:
        return UNNAMED
    if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
        raise DataError(f"is {describe(name)}; a name is allowed", where="annotator", remedy="say who ranked")
    return str(name)


def _check_copies(answers: Sequence[str], ranking: Ranking) -> None:
    for (i, first), (j, second) in combinations(enumerate(ranking.ranks), 2):
        if answers[i] == answers[j] and None not in (first, second) and first != second:
            raise DataError(
                f"completions {i + 1} and {j + 1} are the same text with ranks {first} and {second}",
                where="ranks",
                remedy="give them one rank, or remove one of them",
            )
