"""Prompt and completion ids, loss masks, and the templates that are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tokenizers import processors

from pipeline.errors import ModelError
from stages.modeling.chat import Chat

ASK = [{"role": "user", "content": "Where is it?"}]
REPLY = {"role": "assistant", "content": "On its way."}
LONGER = [*ASK, REPLY, {"role": "user", "content": "Since when?"}, {"role": "assistant", "content": "Monday."}]


def with_template(chat: Chat, template: str | None) -> Any:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def text_of(chat: Chat, ids: list[int]) -> str:
    return str(chat.tokenizer.decode(ids))


def test_prompt_ids_are_the_rendered_text_with_an_open_assistant_turn(chat: Chat) -> None:
    rendered = "<|im_start|>user\nWhere is it?<|im_end|>\n<|im_start|>assistant\n"
    assert text_of(chat, chat.prompt_ids(ASK)) == rendered


def test_encode_is_prompt_and_completion_when_there_is_one_turn(chat: Chat) -> None:
    prompt, completion = chat.prompt_ids(ASK), chat.completion_ids(ASK, "On its way.")
    encoded = chat.encode([*ASK, REPLY])
    assert encoded.input_ids == prompt + completion
    assert encoded.completion_mask == [0] * len(prompt) + [1] * len(completion)


def test_completion_ends_with_its_end_token_and_nothing_after(chat: Chat) -> None:
    assert text_of(chat, chat.completion_ids(ASK, "On its way.")) == "On its way.<|im_end|>"
    assert chat.end_of_turn == chat.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_mask_covers_exactly_the_last_answer_when_the_loss_is_on_the_completion(chat: Chat) -> None:
    encoded = chat.encode(LONGER)
    trained = [i for i, m in zip(encoded.input_ids, encoded.completion_mask, strict=True) if m]
    assert text_of(chat, trained) == "Monday.<|im_end|>"
    assert encoded.completion_mask[-len(trained) :] == [1] * len(trained)


def test_mask_covers_every_answer_when_the_loss_is_on_the_assistant(chat: Chat) -> None:
    encoded = chat.encode(LONGER, loss_on="assistant")
    trained = [i for i, m in zip(encoded.input_ids, encoded.completion_mask, strict=True) if m]
    assert text_of(chat, trained) == "On its way.<|im_end|>Monday.<|im_end|>"


@pytest.mark.parametrize("loss_on", ["completion", "assistant"])
def test_encoded_text_is_the_template_s_up_to_the_last_end_token(chat: Chat, loss_on: Any) -> None:
    whole = chat.tokenizer.apply_chat_template(LONGER, tokenize=False)
    assert text_of(chat, chat.encode(LONGER, loss_on=loss_on).input_ids) == whole.removesuffix("\n")


def test_turns_after_the_last_answer_are_left_out(chat: Chat) -> None:
    assert chat.encode([*ASK, REPLY, *ASK]) == chat.encode([*ASK, REPLY])


def test_answer_that_spells_the_end_token_is_one_answer(chat: Chat) -> None:
    ids = chat.completion_ids(ASK, "a<|im_end|>b")
    assert text_of(chat, ids).endswith("b<|im_end|>")


def test_pad_differs_from_every_stop_token_when_the_tokenizer_pads_with_eos(chat: Chat) -> None:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    mended = Chat(tokenizer)
    assert mended.pad_id not in mended.stop_ids
    assert mended.tokenizer.pad_token_id == mended.pad_id


def test_begin_token_is_not_doubled_when_template_and_tokenizer_both_write_it(chat: Chat) -> None:
    tokenizer = with_template(chat, "{{ bos_token }}" + chat.tokenizer.chat_template)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.add_bos_token = True
    ids = Chat(tokenizer).prompt_ids(ASK)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", "no chat template"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "no end token"),
        ("{{ raise_exception('no') }}", "refused a conversation"),
    ],
)
def test_template_is_refused_when_it_cannot_be_trained_on(chat: Chat, template: str, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        Chat(with_template(chat, template))


def test_template_is_refused_when_it_rewrites_earlier_turns(chat: Chat) -> None:
    counted = "{{ messages | length }}" + chat.tokenizer.chat_template
    with pytest.raises(ModelError, match="changes earlier turns"):
        Chat(with_template(chat, counted))


def test_end_token_of_the_prompt_is_not_taken_for_the_answers(chat: Chat) -> None:
    no_end_for_answers = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% if m.role == 'user' %}<|im_end|>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(ModelError, match="no end token"):
        Chat(with_template(chat, no_end_for_answers))


def with_tokens(chat: Chat, *special: str, **named: str) -> Any:
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special), **named})
    return tokenizer


def test_text_begins_with_the_begin_token_only_if_the_tokenizer_writes_it(chat: Chat) -> None:
    """SmolLM2's begin token is the chat's <|im_start|>, which no text of its pretraining began with."""
    named = with_tokens(chat, bos_token="<|im_start|>")
    assert text_of(chat, Chat(named).encode_text("Hi").input_ids) == "Hi"
    written = with_tokens(chat, bos_token="<|im_start|>")
    written.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", written.bos_token_id)]
    )
    encoded = Chat(written).encode_text("Hi")
    assert text_of(chat, encoded.input_ids) == "<|im_start|>Hi"
    assert encoded.completion_mask == [0] + [1] * (len(encoded.input_ids) - 1)


@pytest.mark.parametrize(
    ("special", "end"),
    [
        ([], ""),  # <|im_end|> is known only to close turns
        (["<|endoftext|>"], "<|endoftext|>"),  # SmolLM2, Qwen
        (["<|eot_id|>", "<|end_of_text|>"], "<|end_of_text|>"),  # Llama 3
    ],
)
def test_text_ends_with_the_token_that_ended_documents(chat: Chat, special: list[str], end: str) -> None:
    tokenizer = with_tokens(chat, *special)
    assert tokenizer.decode(Chat(tokenizer).encode_text("Hi").input_ids) == "Hi" + end


def test_text_ends_with_the_end_token_of_a_model_that_closes_turns_with_another(chat: Chat) -> None:
    tokenizer = with_tokens(chat, "<|eot_id|>", eos_token="<|fin|>")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "<|eot_id|>")
    assert tokenizer.decode(Chat(tokenizer).encode_text("Hi").input_ids) == "Hi<|fin|>"


def test_text_ends_with_the_one_end_token_of_a_model_that_closes_turns_with_it_too(chat: Chat) -> None:
    tokenizer = with_tokens(chat, eos_token="</s>")  # Mistral
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "</s>")
    assert tokenizer.decode(Chat(tokenizer).encode_text("Hi").input_ids) == "Hi</s>"
