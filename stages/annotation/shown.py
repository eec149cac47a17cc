"""A prompt as people read it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stages.formats.records import Message


def message_text(message: Message) -> str:
    """What people read of a message; calls of tools and parts that are not text as JSON."""
    content, calls = message.get("content"), message.get("tool_calls")
    parts = content if isinstance(content, list) else [content]
    texts = [_part(part) for part in parts if part is not None]
    return "\n".join([*texts, _json(calls)] if calls else texts)


def prompt_text(messages: Sequence[Message]) -> str:
    """All messages as one text; a lone one without its role."""
    if len(messages) == 1:
        return message_text(messages[0])
    return "\n\n".join(f"[{message.get('role', '')}]\n{message_text(message)}" for message in messages)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return _json(part)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
