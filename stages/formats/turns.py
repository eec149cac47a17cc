"""Raw turns, in the spellings people's files have, to messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import DataError, nearest
from stages.formats import rules
from stages.formats.records import Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
# ShareGPT's names, as its many variants spell them.
SPEAKERS = ROLES | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
KEPT = ("tool_calls", "name", "tool_call_id", "reasoning_content")
TRANSCRIPT = "\n\nHuman:"


def read_messages(value: Any, field: str = "messages") -> list[Message]:
    """Messages in OpenAI's ("role", "content") or ShareGPT's ("from", "value") spelling."""
    given = rules.listed(value, field)
    if not given:
        raise DataError(
            "is an empty list; at least one message is needed", where=field, remedy="fill it in, or remove the row"
        )
    return [read_message(message, f"{field}[{index}]") for index, message in enumerate(given)]


def read_message(value: Any, field: str) -> Message:
    """One message: role made one of system, user, assistant, tool; typed parts joined; tool calls parsed."""
    if not isinstance(value, Mapping):
        raise DataError(
            f"is {rules.describe(value)}; an object with role and content is allowed",
            where=field,
            remedy='write {"role": "user", "content": "..."}',
        )
    is_sharegpt = "from" in value and "role" not in value
    speaker, said, known = ("from", "value", SPEAKERS) if is_sharegpt else ("role", "content", ROLES)
    role = rules.need(value, speaker, field)
    if not isinstance(role, str) or role not in known:
        raise DataError(
            f"unknown role {role!r}; allowed: {', '.join(known)}",
            where=f"{field}.{speaker}",
            remedy=nearest(str(role), known),
        )
    message: Message = {"role": known[role], "content": ""}
    message |= {key: value[key] for key in KEPT if value.get(key) is not None}
    if message.get("tool_calls"):
        message["tool_calls"] = _tool_calls(message["tool_calls"], f"{field}.tool_calls")
    else:
        message.pop("tool_calls", None)
    if role == "function_call":
        message["tool_calls"] = _tool_calls(value.get(said), f"{field}.{said}")
    elif not (value.get(said) is None and message.get("tool_calls")):
        _put_content(message, rules.need(value, said, field), f"{field}.{said}")
    return message


def read_prompt(value: Any, field: str = "prompt") -> list[Message]:
    """A prompt given as text (one user turn, or an HH transcript left open for the assistant) or as messages."""
    if not isinstance(value, (str, list)):
        raise DataError(
            f"is {rules.describe(value)}; text, or a list of messages, is allowed",
            where=field,
            remedy="write it as text, or as messages of role and content",
        )
    if not isinstance(value, str):
        return read_messages(value, field)
    if value.startswith(TRANSCRIPT):
        messages = read_transcript(value, field)
        return messages[:-1] if messages[-1] == {"role": "assistant", "content": ""} else messages
    return [{"role": "user", "content": rules.filled(value, field)}]


def read_completion(value: Any, field: str) -> str:
    """An answer given as text, as one assistant message, or as a list that holds only that."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value, field = value[0], f"{field}[0]"
    if not isinstance(value, Mapping):
        return rules.filled(value, field)
    message = read_message(value, field)
    if message["role"] != "assistant":
        raise DataError(
            f"is the {message['role']}'s turn; an assistant's is needed", where=field, remedy="give the answer alone"
        )
    return answer_text(message, field)


def answer_text(message: Message, field: str) -> str:
    """The text of an assistant turn that is to be compared, and so must be text alone."""
    if message.get("tool_calls"):
        raise DataError(
            "has tool calls; a completion is text", where=field, remedy="compare answers in words, or leave the row out"
        )
    return rules.filled(message["content"], field)


def read_transcript(text: Any, field: str) -> list[Message]:
    """Anthropic's HH layout, "\\n\\nHuman: ...\\n\\nAssistant: ...", with the white space around each turn removed."""
    head, *pieces = re.split(r"\n\n(Human|Assistant):", rules.text(text, field))
    if head.strip() or not pieces:
        raise DataError("is not a transcript", where=field, remedy='begin it with "\\n\\nHuman: "')
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def read_tools(value: Any) -> list[Any] | None:
    """Function descriptions, also as JSON text; bare functions get the wrapper that chat templates expect."""
    if value is None or value == "":
        return None
    tools = rules.listed(value, "tools")
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise DataError(
                f"is {rules.describe(tool)}; an object is allowed",
                where=f"tools[{index}]",
                remedy="describe the function as a JSON object",
            )
    return [_wrapped(tool) for tool in tools] or None


def _wrapped(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "type" in tool or "name" not in tool else {"type": "function", "function": tool}


def _put_content(message: Message, content: Any, field: str) -> None:
    if not isinstance(content, list):
        message["content"] = rules.text(content, field)
        return
    calls: list[Any] = []
    for index, part in enumerate(content):
        place = f"{field}[{index}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        held = part.get("text", part.get("value")) if isinstance(part, Mapping) else None
        if kind == "text":
            message["content"] += rules.text(held, place)
        elif kind == "reasoning":
            message["reasoning_content"] = message.get("reasoning_content", "") + rules.text(held, place)
        elif kind == "tool_call":
            calls += _tool_calls(held, place)
        else:
            raise DataError(
                f"a part of type {kind!r}; text, reasoning and tool_call are allowed",
                where=place,
                remedy="only text can be trained on here: remove the part, or the row",
            )
    if calls:
        message["tool_calls"] = [*message.get("tool_calls", []), *calls]


def _tool_calls(value: Any, field: str) -> list[dict[str, Any]]:
    """Calls as {"type": "function", "function": {"name", "arguments"}}, arguments parsed for the chat template."""
    calls = rules.parsed(value, field)
    return [_tool_call(call, field) for call in (calls if isinstance(calls, Sequence) else [calls])]


def _tool_call(call: Any, field: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(
            "is no call of a function; name and arguments are needed",
            where=field,
            remedy='write {"name": "...", "arguments": {...}}',
        )
    arguments = rules.parsed(function.get("arguments", {}), f"{field}.arguments")
    own_id = {"id": call["id"]} if call.get("id") is not None else {}
    return {**own_id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}
