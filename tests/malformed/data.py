# ruff: noqa: E501
"""Malformed data files, with the place and the finding that the refusal must name."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from dataclasses import dataclass
from typing import Any

PROMPT = [{"role": "user", "content": "Which is better?"}]
ASK, SAY = {"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Here."}


@dataclass(frozen=True)
class Case:
    """One malformed file, used by a stage of `kind` through a source with `options`."""

    id: str
    where: str
    problem: str
    content: bytes | None
    file: str = "bad.jsonl"
    kind: str = "sft"
    options: str = ""


def _lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _tar() -> bytes:
    """An archive whose one file would land above the folder it is unpacked in."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../canary"), io.BytesIO())
    return packed.getvalue()


GOOD = {"messages": [ASK, SAY]}


def _chat(*messages: dict[str, Any]) -> bytes:
    """A good row, then one with these messages."""
    return _lines(GOOD, {"messages": list(messages)})


def _ranked(completions: list[Any], ranks: Any) -> bytes:
    """A good comparison, then one with these completions and ranks."""
    good = {"prompt": PROMPT, "completions": ["a", "b"], "ranks": [1, 2]}
    return _lines(good, {"prompt": PROMPT, "completions": completions, "ranks": ranks})


def _comparison(name: str, problem: str, completions: list[Any], ranks: Any) -> Case:
    return Case(name, "bad.jsonl:row 2", problem, _ranked(completions, ranks), kind="rm")


def _vote(name: str, problem: str, row: dict[str, Any]) -> Case:
    return Case(name, "bad.jsonl:row 1", problem, _lines(row), kind="rm")


def _answer(name: str, problem: str, row: dict[str, Any]) -> Case:
    return Case(name, "bad.jsonl:row 1", problem, _lines(row))


def _row(name: str, problem: str, content: bytes) -> Case:
    return Case(name, "bad.jsonl:row 2", problem, content)


CASES = [
    # files
    Case("file-missing", "bad.jsonl", "no such file", None),
    Case("folder-empty", "empty", "holds no data file", None, file="empty"),
    Case("glob-matches-nothing", "no*.jsonl", "no file matches", None, file="no*.jsonl"),
    Case("file-empty", "bad.jsonl", "no rows", b""),
    Case("file-of-blank-lines", "bad.jsonl", "no rows", b"\n\n  \n"),
    Case("file-type-unknown", "bad.ods", "unknown file type", b"PK", file="bad.ods"),
    Case("gzip-truncated", "bad.jsonl.gz", "cannot be read", gzip.compress(_lines(*[GOOD] * 50))[:-20], file="bad.jsonl.gz"),
    Case("gzip-that-is-not", "bad.jsonl.gz", "cannot be read", _lines(GOOD), file="bad.jsonl.gz"),
    Case("parquet-corrupt", "bad.parquet", "not a readable Parquet file", b"PAR1garbagePAR1", file="bad.parquet"),
    Case("json-array-unclosed", "bad.json", "is not JSON", b'[{"messages": []},', file="bad.json"),
    Case("csv-without-the-columns", "bad.csv", "fit no known format", b"question,reply\nWhere?,Here.\n", file="bad.csv"),
    Case("csv-with-too-many-cells", "bad.csv:row 1", "3 cells under 2 columns", b"prompt,completion\na,b,c\n", file="bad.csv"),
    Case("zip-archive", "bad.zip", "unknown file type '.zip'", b"PK\x03\x04" + b"\0" * 40, file="bad.zip"),
    Case("tar-archive", "bad.tar.gz", "unknown file type '.gz'", _tar(), file="bad.tar.gz"),
    Case("tar-called-rows", "bad.jsonl.gz:row 1", "a NUL byte", _tar(), file="bad.jsonl.gz"),
    Case("pickle-called-rows", "bad.jsonl:row 1", "a NUL byte", pickle.dumps(open), file="bad.jsonl"),
    Case("gzip-bomb", "bad.jsonl.gz", "a line of more than 16 MiB at byte 0", gzip.compress(b"x" * (1 << 25), 1), file="bad.jsonl.gz"),
    Case("gzip-bomb-of-cells", "bad.csv.gz", "a line of more than 16 MiB at byte 18", gzip.compress(b"prompt,completion\n" + b"x" * (1 << 25), 1), file="bad.csv.gz"),
    Case("gzip-of-garbage", "bad.jsonl.gz", "cannot be read", gzip.compress(_lines(GOOD))[:10] + b"\xff" * 40, file="bad.jsonl.gz"),
    Case("csv-cell-too-long", "bad.csv:row 1", "field larger than field limit", b"prompt,completion\n" + b"x" * 200_000 + b",a\n", file="bad.csv"),
    Case("csv-in-utf-16", "bad.csv", "is UTF-16 text", "prompt,completion\na,b\n".encode("utf-16"), file="bad.csv"),
    Case("csv-in-windows-1252", "bad.csv:row 1", "in Windows-1252 that is é", "prompt,completion\na,é\n".encode("cp1252"), file="bad.csv"),
    Case("csv-quote-unclosed", "bad.csv:row 1", "cannot be split into cells", b'prompt,completion\na,"b\nc,d\n', file="bad.csv"),
    Case("xlsx-that-is-not", "bad.xlsx", "is not a readable XLSX file", b"PK", file="bad.xlsx"),
    Case("xlsx-under-a-password", "bad.xlsx", "is not a readable XLSX file", b"\xd0\xcf\x11\xe0" + b"\0" * 600, file="bad.xlsx"),
    Case("table-where-there-is-none", "bad.jsonl", "has no tables", _lines(GOOD), options="table: train"),
    Case("table-missing", "bad.json", "has no list 'tain'", b'{"train": [{}]}', file="bad.json", options="table: tain"),
    Case("json-schema", "bad.json", "is a JSON Schema", b'{"$schema": "x"}', file="bad.json"),
    # rows
    _row("json-nested-deep", "is not JSON", _lines(GOOD) + b"[" * 100_000 + b"\n"),
    _row("json-nested-deep-in-a-field", "is not JSON", _lines(GOOD) + b'{"messages": ' + b"[" * 100_000 + b"\n"),
    _row("json-number-of-5000-digits", "is not JSON", _lines(GOOD) + b'{"messages": ' + b"9" * 5000 + b"}\n"),
    _row("json-line-broken", "is not JSON", _lines(GOOD) + b'{"messages": [\n'),
    _row("row-is-a-list", "a JSON object is needed", _lines(GOOD, [1, 2])),
    _row("row-is-null", "a JSON object is needed", _lines(GOOD, None)),
    _row("not-utf-8", "not UTF-8 at byte", _lines(GOOD) + b'{"messages": "\xff"}\n'),
    _row("nul-byte", "a NUL byte at byte", _lines(GOOD) + b'{"messages": "\x00"}\n'),
    Case("format-unknown", "bad.jsonl", "fit no known format", _lines({"q": "Where?", "a": "Here."})),
    Case("format-named-unknown", "format", "unknown format 'mesages'", _lines(GOOD), options="format: mesages"),
    Case("column-unknown", "bad.jsonl", "no column 'chat'", _lines(GOOD), options="map: {messages: chat}"),
    Case("field-missing", "bad.jsonl:row 2", "", _lines(GOOD, {"messages": [ASK, {"role": "assistant"}]})),
    Case("kind-of-record-wrong", "bad.jsonl", "comparison records are needed", _lines(GOOD), kind="rm"),
    Case("kto-rows", "bad.jsonl", "no KTO objective", _lines({"prompt": "a", "completion": "b", "label": True}), kind="rm"),
    # conversations
    _row("completion-empty", "", _chat(ASK, {"role": "assistant", "content": ""})),
    _row("completion-of-spaces", "", _chat(ASK, {"role": "assistant", "content": " \n\t"})),
    _row("role-unknown", "'bot'", _chat(ASK, {"role": "bot", "content": "Here."})),
    _row("two-user-turns", "", _chat(ASK, ASK, SAY)),
    Case("no-assistant-turn", "bad.jsonl: row 2", "looks like 'prompts'", _chat(ASK)),
    Case("no-assistant-turn-in-any", "bad.jsonl", "instruction or text records are needed", _lines({"messages": [ASK]})),
    _row("no-user-turn", "", _chat(SAY)),
    _row("no-turns", "", _chat()),
    _row("content-is-a-number", "", _chat(ASK, {"role": "assistant", "content": 7})),
    _row("row-of-100001-characters", "100,00", _chat(ASK, {"role": "assistant", "content": "x" * 100_001})),
    # comparisons
    _comparison("rank-out-of-range", "3", ["a", "b"], [1, 3]),
    _comparison("rank-zero", "0", ["a", "b"], [0, 1]),
    _comparison("rank-is-text", "", ["a", "b"], [1, "two"]),
    _comparison("rank-is-boolean", "", ["a", "b"], [1, True]),
    _comparison("ranks-too-few", "", ["a", "b", "c"], [1, 2]),
    _comparison("ranks-all-null", "", ["a", "b"], [None, None]),
    _comparison("ranks-not-a-list", "", ["a", "b"], 1),
    _comparison("one-completion", "", ["a"], [1]),
    _comparison("equal-completions-ranked-apart", "", ["a", "a"], [1, 2]),
    _comparison("completion-empty-in-comparison", "", ["a", ""], [1, 2]),
    _comparison("completion-is-a-number", "", ["a", 3], [1, 2]),
    _vote("tree-without-ranks", "no turn of the tree has two ranked replies", {"prompt": {"role": "prompter", "text": "Hi", "replies": []}}),
    _vote("summary-choice-unknown", "is '2'; allowed: 0, 1", {"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}),
    _vote("webgpt-score-missing", "is null; a number is needed", {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": None, "score_1": 0}),
    _vote("helpsteer-strength-too-large", "is 5; -3", {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 5}),
    _vote("arena-winner-unknown", "is 'owl'; allowed: model_a", {"conversation_a": [ASK, SAY], "conversation_b": [ASK, SAY], "winner": "owl"}),
    _vote("pandalm-label-unknown", "is '9'; allowed: 0, 1, 2", {"instruction": "q", "response1": "a", "response2": "b", "annotator1": 9}),
    _vote("llmbar-label-unknown", "is '0'; allowed: 1, 2", {"input": "q", "output_1": "a", "output_2": "b", "label": 0}),
    _vote("judgment-empty", "nobody judged", {"prompt": "q", "completion_a": "a", "completion_b": "b", "preference": ""}),
    _vote("solution-not-checked", "true or false is allowed", {"question": "q", "a": {"solution": "s", "is_correct": 1}}),
    _vote("penalties-too-few", "1 values for 2 completions", {"prompt": "q", "completions": ["a", "b"], "penalties": {"ann": [1]}}),
    _answer("question-without-answer", "is null", {"question": "q", "answer": None}),
    _answer("label-is-a-list", "one label", {"text": "q", "label": ["a", "b"]}),
    _answer("slots-are-a-list", "an object is allowed", {"text": "q", "intents": [], "slots": []}),
    _answer("squad-without-answer", "no answer is given", {"context": "c", "question": "q", "answers": []}),
    _answer("self-instruct-without-instances", "is an empty list", {"instruction": "q", "instances": []}),
    _answer("answers-without-one", "is an empty list", {"prompt": "q", "answers": []}),
]  # fmt: skip
