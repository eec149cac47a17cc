"""What is wrong between a row and its tokens: templates and rows that really do each thing, and some that do none."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from stages.formats.records import Comparison, Instruction, Prompt, Ranking, Text
from stages.modeling.chat import Chat
from stages.preview.checks import CHECKS, case_of, found_in
from stages.preview.coded import reading_of

WHOLE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}) {% endif %}{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"type": "function", "function": {"name": "find", "arguments": {"order": 7}}}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
ASK = {"role": "user", "content": "Where is it?"}
REPLY = {"role": "assistant", "content": "On its way."}
RICH = [
    {"role": "system", "content": "Be brief."},
    ASK,
    {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "Look it up."},
    {"role": "tool", "content": "left on Monday"},
    REPLY,
]


def with_template(chat: Chat, template: str, **special: str) -> Chat:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = template
    tokenizer.add_special_tokens(special)
    return Chat(tokenizer)


def found(chat: Chat, messages: list[dict[str, Any]], tools: Any = None, max_length: int = 1000) -> list[str]:
    """What is found in a conversation as sft encodes it."""
    record = Instruction("1", tuple(messages), tools)
    config = SimpleNamespace(max_length=max_length, loss_on="completion")
    coded = reading_of("sft", "data", "instruction").encode(config, chat, record)
    return found_in(case_of(chat, record, coded))


def test_nothing_is_found_when_the_template_writes_all_it_is_given(chat: Chat) -> None:
    assert found(with_template(chat, WHOLE), RICH, TOOLS) == []


def test_nothing_is_found_in_a_plain_conversation(chat: Chat) -> None:
    assert found(chat, [ASK, REPLY, ASK, REPLY]) == []


@pytest.mark.parametrize(
    ("part", "instead", "name"),
    [
        ("in messages %}", "in messages if m.role != 'system' %}", "system dropped"),
        ("in messages %}", "in messages if m.role != 'tool' %}", "tool turn dropped"),
        ("{% if tools %}", "{% if false %}", "tools dropped"),
        ("{% if m.tool_calls %}", "{% if false %}", "tool calls dropped"),
        ("{% if m.reasoning_content %}", "{% if false %}", "reasoning dropped"),
    ],
)
def test_dropped_part_is_found_when_the_template_leaves_it_out(chat: Chat, part: str, instead: str, name: str) -> None:
    assert part in WHOLE
    assert found(with_template(chat, WHOLE.replace(part, instead)), RICH, TOOLS) == [name]


def test_dropped_system_message_is_found_when_the_template_writes_one_of_its_own(chat: Chat) -> None:
    own = "<|im_start|>system\nBe good.<|im_end|>\n"
    template = own + WHOLE.replace("in messages %}", "in messages if m.role != 'system' %}")
    assert found(with_template(chat, template), RICH, TOOLS) == ["system dropped"]


def test_dropped_calls_are_found_when_only_an_earlier_turn_loses_them(chat: Chat) -> None:
    template = WHOLE.replace("{% if m.tool_calls %}", "{% if m.tool_calls and loop.last %}")
    assert "tool calls dropped" in found(with_template(chat, template), RICH, TOOLS)


def test_rewritten_earlier_turns_are_found_when_reasoning_is_kept_in_the_last_alone(chat: Chat) -> None:
    template = WHOLE.replace("{% if m.reasoning_content %}", "{% if m.reasoning_content and loop.last %}")
    assert "earlier turns change" in found(with_template(chat, template), RICH, TOOLS)


def test_rewritten_text_is_found_when_the_template_changes_its_letters(chat: Chat) -> None:
    assert found(with_template(chat, WHOLE.replace("m.content", "m.content | upper")), [ASK, REPLY]) == ["turn dropped"]


def test_lost_white_space_is_found_when_the_template_trims(chat: Chat) -> None:
    template = WHOLE.replace("m.content", "m.content | trim")
    indented = {"role": "assistant", "content": "    return 1\n"}
    assert found(with_template(chat, template), [ASK, indented]) == ["white space lost"]
    assert found(with_template(chat, template), [ASK, REPLY]) == []


@pytest.mark.parametrize(("start", "names"), [("{{ bos_token }}" * 2, ["begin doubled"]), ("{{ bos_token }}", [])])
def test_doubled_begin_token_is_found_when_the_template_writes_two(chat: Chat, start: str, names: list[str]) -> None:
    assert found(with_template(chat, start + WHOLE, bos_token="<s>"), [ASK, REPLY]) == names


@pytest.mark.parametrize(("start", "names"), [("", ["begin missing"]), ("{{ bos_token }}", [])])
def test_missing_begin_token_is_found_when_only_the_tokenizer_would_write_it(
    chat: Chat, start: str, names: list[str]
) -> None:
    own = with_template(chat, start + WHOLE, bos_token="<s>")
    begin = ("<s>", own.tokenizer.bos_token_id)
    own.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[begin]
    )
    assert own.tokenizer("a")["input_ids"][0] == begin[1]
    assert found(own, [ASK, REPLY]) == names


def test_doubled_end_token_is_found_when_the_template_writes_two(chat: Chat) -> None:
    assert found(with_template(chat, WHOLE.replace("<|im_end|>", "<|im_end|>" * 2)), [ASK, REPLY]) == ["end doubled"]


def test_end_token_in_the_data_is_found_with_its_double(chat: Chat) -> None:
    assert found(chat, [ASK, {"role": "assistant", "content": "Soon.<|im_end|>"}]) == [
        "end doubled",
        "control tokens spelt",
    ]


def test_missing_end_is_found_when_the_last_token_alone_is_cut(chat: Chat) -> None:
    length = len(chat.encode([ASK, REPLY]).input_ids)
    assert found(chat, [ASK, REPLY], max_length=length) == []
    assert found(chat, [ASK, REPLY], max_length=length - 1) == ["end missing"]


def test_empty_mask_is_found_when_the_prompt_fills_max_length(chat: Chat) -> None:
    assert found(chat, [ASK, REPLY], max_length=len(chat.prompt_ids([ASK]))) == ["mask empty"]


def test_unknown_characters_are_found_when_the_tokenizer_knows_words_only(chat: Chat) -> None:
    words = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant", "hi", "a", "b"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    own = with_template(SimpleNamespace(tokenizer=fast), WHOLE)  # type: ignore[arg-type]
    assert "characters unknown" in found(own, [{"role": "user", "content": "hi"}, REPLY])
    assert "characters unknown" not in found(own, [{"role": "user", "content": "hi"}, {**REPLY, "content": "hi"}])


def test_comparison_and_prompt_are_checked_by_the_same_rules(chat: Chat) -> None:
    template = with_template(chat, WHOLE.replace("m.content", "m.content | trim"))
    comparison = Comparison("1", (ASK,), ("good ", "bad"), (Ranking("x", (1, 2)),))
    system = ({"role": "system", "content": "Be brief."}, ASK)
    silent = with_template(chat, WHOLE.replace("in messages %}", "in messages if m.role != 'system' %}"))
    told = {}
    for own, record in ((template, comparison), (silent, Prompt("1", system))):
        coded = reading_of("other", "data", record.kind).encode(None, own, record)
        told[record.kind] = found_in(case_of(own, record, coded))
    assert told == {"comparison": ["white space lost"], "prompt": ["system dropped"]}


def test_every_check_says_what_to_do() -> None:
    assert all(check.told and check.remedy for check in CHECKS.values())


def found_in_text(chat: Chat, text: str, max_length: int = 10) -> list[str]:
    record = Text("1", text)
    coded = reading_of("sft", "data", "instruction or text").encode(
        SimpleNamespace(max_length=max_length), chat, record
    )
    return found_in(case_of(chat, record, coded))


def test_nothing_is_found_in_a_text_when_its_rows_hold_all_of_it(chat: Chat) -> None:
    """Also where the token that ends documents is the one of unknown characters, as SmolLM2's is."""
    named = with_template(chat, chat.tokenizer.chat_template, unk_token="<|endoftext|>")
    assert named.encode_text("a").input_ids[-1] == named.tokenizer.unk_token_id
    for tokens in (chat, named):
        assert found_in_text(tokens, "Where is my order?  It left\non Monday, thank you.") == []


def test_end_that_a_text_spells_itself_is_found(chat: Chat) -> None:
    named = with_template(chat, chat.tokenizer.chat_template, unk_token="<|endoftext|>")
    names = found_in_text(named, "It left.<|endoftext|>")
    assert {"end doubled", "control tokens spelt"} <= set(names)


def test_white_space_that_a_tokenizer_drops_from_a_text_is_found(chat: Chat) -> None:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(" +"), " ")
    assert found_in_text(Chat(tokenizer), "It  left.") == ["white space lost"]
