"""What people read of a prompt, in every tool and file."""

from __future__ import annotations

import json

import pytest

from stages.annotation.shown import message_text, prompt_text

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
