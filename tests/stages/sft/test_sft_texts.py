"""sft on plain text, alone and beside conversations: rows, loss and perplexity, held against plain transformers."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from test_sft_train import TINY, conversations, plain_loss
from tiny_run import Log, full_model, make_context, same_weights, write_rows
from transformers import AutoModelForCausalLM

from pipeline.contract import ModelConfig, Result
from pipeline.errors import DataError, Interrupted
from stages import dpo, sft
from stages.formats.records import Document, Text
from stages.modeling.chat import Chat
from stages.rm.config import Config as RmConfig
from stages.rm.train import run as run_rm
from stages.sft.data import prepare

TEXTS = [f"Parcel {number} left on day {number % 7}. Thank you for your order." for number in range(30)]


def run(output: Path, model: ModelConfig, data: Path | list[Path], log: Log | None = None, *, keep: bool = False,
        stop: int = 0, **changes: Any) -> Result:  # fmt: skip
    config = sft.Config(**{"data": "rows", "eval_prompts": 0, "max_steps": 3, **TINY, **changes})
    return sft.run(config, make_context(output, model, log, keep=keep, stop=stop, policy="base", data=data))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])


@pytest.fixture
def documents_end(chat: Chat) -> Chat:
    """The tiny tokenizer with a token that ends documents beside the one that ends turns."""
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    return Chat(tokenizer)


def rows_of(chat: Chat, record: Text, max_length: int) -> list[tuple[list[int], list[int]]]:
    lesson = prepare(chat, record, sft.Config(data="rows", max_length=max_length))
    return [(row.input_ids, row.completion_mask) for row in lesson.rows]


def test_text_longer_than_max_length_becomes_even_rows_that_share_a_token(documents_end: Chat) -> None:
    """Letters of the alphabet in the tokenizer's order, which is that of the bytes behind three special tokens."""
    first = 3 + ord("b") - ord("!")
    end = len(documents_end.tokenizer) - 1
    b, d, f, h, j = range(first, first + 10, 2)  # no two of them were merged
    assert documents_end.tokenizer("bdfhj", add_special_tokens=False)["input_ids"] == [b, d, f, h, j]
    assert rows_of(documents_end, Text("1", "bdfhj"), max_length=4) == [
        ([b, d, f], [0, 1, 1]),
        ([f, h, j, end], [0, 1, 1, 1]),
    ]
    assert rows_of(documents_end, Text("1", "bdfhj"), max_length=6) == [([b, d, f, h, j, end], [0, 1, 1, 1, 1, 1])]


@pytest.mark.parametrize("max_length", [2, 3, 7, 64])
def test_every_token_of_a_text_but_the_first_counts_once(documents_end: Chat, max_length: int) -> None:
    whole = documents_end.tokenizer(TEXTS[0] + "<|endoftext|>")["input_ids"]
    rows = rows_of(documents_end, Text("1", TEXTS[0]), max_length)
    assert [token for ids, mask in rows for token, counts in zip(ids, mask, strict=True) if counts] == whole[1:]
    lengths = [len(ids) for ids, _ in rows]
    assert max(lengths) <= max_length and max(lengths) - min(lengths) <= 1


def test_title_of_a_document_is_its_first_line(documents_end: Chat) -> None:
    ((ids, _),) = rows_of(documents_end, Document("1", "Four weeks.", "Returns"), 64)
    assert documents_end.tokenizer.decode(ids) == "Returns\n\nFour weeks.<|endoftext|>"


def test_token_that_only_ends_turns_does_not_end_a_text(chat: Chat) -> None:
    ((ids, _),) = rows_of(chat, Text("1", "Four weeks."), 64)
    assert chat.tokenizer.decode(ids) == "Four weeks."


def token_losses(folder: Path, chat: Chat, text: str) -> list[float]:
    """The loss of every token but the first under plain transformers, which shifts the labels itself."""
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    ids = torch.tensor([chat.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        mean = float(model(input_ids=ids, labels=ids).loss)
    return [mean] * (ids.shape[1] - 1)


def test_first_loss_is_that_of_plain_transformers_on_every_token(
    tiny_model: Path, chat: Chat, texts: Path, tmp_path: Path
) -> None:
    log = Log()
    result = run(tmp_path / "out", full_model(tiny_model), texts, log, max_steps=1, per_device_train_batch_size=30)
    num_held = sum(text_is_held_out(text) for text in TEXTS)
    assert 0 < num_held < 15
    trained = [loss for t in TEXTS if not text_is_held_out(t) for loss in token_losses(tiny_model, chat, t)]
    held = [loss for t in TEXTS if text_is_held_out(t) for loss in token_losses(tiny_model, chat, t)]
    assert log.column("loss")[0] == pytest.approx(sum(trained) / len(trained), abs=1e-4)
    assert result.metrics["data/num_trained_tokens"] == len(trained)
    assert result.metrics["heldout/input_text_loss"] == pytest.approx(sum(held) / len(held), abs=1e-4)


def text_is_held_out(text: str) -> bool:
    """By the rule of the design, written out: the text's JSON behind the salt, hashed, under the fraction."""
    import hashlib
    import json

    digest = hashlib.sha256(("posttune" + json.dumps(text, ensure_ascii=False)).encode()).hexdigest()
    return int(digest[:16], 16) < 0.3 * 2**64


def test_perplexity_falls_and_the_output_has_it_in_plain_transformers(
    tiny_model: Path, chat: Chat, texts: Path, tmp_path: Path
) -> None:
    result = run(tmp_path / "out", full_model(tiny_model), texts, max_steps=20)
    metrics = result.metrics
    assert metrics["heldout/text_perplexity"] < 0.5 * metrics["heldout/input_text_perplexity"]
    held = [loss for t in TEXTS if text_is_held_out(t) for loss in token_losses(tmp_path / "out", chat, t)]
    assert metrics["heldout/text_perplexity"] == pytest.approx(math.exp(sum(held) / len(held)), rel=1e-3)
    assert [row[0] for row in result.fragments[0].rows] == ["loss on texts (nats a token)", "perplexity on texts"]  # type: ignore[union-attr]
    assert "heldout/loss" not in metrics
    assert result.summary[1].startswith("perplexity on texts: ")


def test_long_texts_are_learnt_whole_and_read_whole(model: ModelConfig, texts: Path, tmp_path: Path) -> None:
    log = Log()
    whole = run(tmp_path / "one/out", model, texts, max_steps=1, max_length=64)
    cut = run(tmp_path / "two/out", model, texts, log, max_steps=1, max_length=10)
    assert cut.metrics["data/num_trained_tokens"] == whole.metrics["data/num_trained_tokens"]
    assert cut.metrics["data/num_truncated_tokens"] == 0
    assert cut.metrics["data/num_rows"] > 2 * whole.metrics["data/num_rows"]
    num_rows = round(cut.metrics["data/num_rows"])
    assert any(f"texts in {num_rows} rows of at most 10 tokens" in line for line in log.said)


def test_conversations_and_texts_are_learnt_together(tiny_model: Path, chat: Chat, texts: Path, tmp_path: Path) -> None:
    talks = conversations(tmp_path, ["yes", "no", "it is"])
    log = Log()
    both = run(tmp_path / "both/out", full_model(tiny_model), [talks, texts], log, max_steps=20, eval_prompts=4,
               max_new_tokens=4)  # fmt: skip
    alone = run(tmp_path / "alone/out", full_model(tiny_model), texts, max_steps=1)
    assert both.metrics["data/num_rows"] == 3 + alone.metrics["data/num_rows"]
    assert both.metrics["heldout/text_loss"] < both.metrics["heldout/input_text_loss"] - 0.5
    held_out = plain_loss(tmp_path / "both/out", tiny_model, chat, [("q0", "yes")])
    assert both.metrics["heldout/loss"] == pytest.approx(held_out, abs=1e-4)
    (table,) = both.fragments
    assert "1 held-out rows, " in table.note and ", 1 prompts answered greedily" in table.note  # type: ignore[union-attr]
    assert any("3 conversations, " in line for line in log.said)
    assert any(" texts in " in line for line in log.said)


def test_stopped_run_on_both_ends_with_the_same_bits(model: ModelConfig, texts: Path, tmp_path: Path) -> None:
    data = [conversations(tmp_path, ["yes", "no"]), texts]
    run(tmp_path / "whole/out", model, data, max_steps=5, packing=True)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", model, data, max_steps=5, packing=True, keep=True, stop=2)
    run(tmp_path / "parts/out", model, data, max_steps=5, packing=True, keep=True)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")


def test_text_of_one_token_is_refused(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in [*TEXTS[:8], "b", "d", "f", "h"]])
    with pytest.raises(DataError, match="texts have no trained token left"):
        run(tmp_path / "out", model, data)


def test_held_out_texts_of_one_token_are_refused_before_training(model: ModelConfig, tmp_path: Path) -> None:
    letters = [letter for letter in "bdfhjlnpr" if text_is_held_out(letter)]
    given = [text for text in TEXTS if not text_is_held_out(text)] + letters
    assert letters
    data, log = write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in given]), Log()
    with pytest.raises(DataError, match=f"none of {len(letters)} held-out texts has two tokens"):
        run(tmp_path / "out", model, data, log)
    assert not log.metrics


def test_text_is_refused_where_answers_are_compared(model: ModelConfig, texts: Path, tmp_path: Path) -> None:
    context = make_context(tmp_path / "out", model, policy="base", data=texts)
    reason = r"holds text records \(format 'text'\); comparison records are needed here"
    with pytest.raises(DataError, match=reason):
        dpo.run(dpo.Config(policy="base", reference="base", data="rows"), context)
    with pytest.raises(DataError, match=reason):
        run_rm(RmConfig(data="rows"), context)
