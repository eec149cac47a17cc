"""What people read of a prompt, in every tool and file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tool_batch import batch_of

from stages.annotation.shown import message_text, prompt_text
from stages.exchange.lookup import exporter
from stages.exchange.tools import ExportOptions

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}, {"type": "image", "image": "a.png"}]


@pytest.mark.parametrize("message, expected", [
    ({"role": "user", "content": "Why?"}, "Why?"),
    ({"role": "assistant", "content": None}, ""),
    ({"role": "user", "content": PARTS[:2]}, "What is\nthis?"),
    ({"role": "user", "content": PARTS[2:]}, '{\n "type": "image",\n "image": "a.png"\n}'),
])  # fmt: skip
def test_message_is_its_text_and_json_for_the_rest(message, expected):
    assert message_text(message) == expected


def test_prompt_has_roles_when_there_are_several_messages():
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    text = prompt_text([{"role": "user", "content": "2+2?"}, called])
    first, _, second = text.partition("\n\n[assistant]\n")
    assert (first, json.loads(second)) == ("[user]\n2+2?", [CALL])


@pytest.mark.parametrize("name", ["html", "csv", "label-studio", "argilla", "potato", "prodigy"])
def test_every_export_shows_parts_and_calls_of_tools_and_no_none(name, tmp_path):
    batch = batch_of(3, people=("ann",), texts=("one", "two", "three"))
    messages = ({"role": "user", "content": PARTS}, {"role": "assistant", "content": None, "tool_calls": [CALL]})
    batch = replace(batch, tasks=tuple(replace(task, messages=messages) for task in batch.tasks))
    everything = "".join(
        path.read_text("utf-8-sig") for path in exporter(name)(batch, tmp_path, ExportOptions()) if path.suffix != ".py"
    )
    shown = everything.partition('<script type="application/json"')[2] if name == "html" else everything
    for word in ("What is", "this?", "a.png", "add"):
        assert word in shown
    assert "None" not in shown and "{'type'" not in shown
