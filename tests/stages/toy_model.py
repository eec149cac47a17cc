"""A language model so small that what its policy is worth can be worked out exactly, through the model itself.

Eight tokens: padding, the end, and the letters a to f. A two-layer Llama with a tokenizer answers two prompts, of one
letter and of two, in at most three tokens: 512 sequences a prompt, behind 57 prefixes. The reward of an answer is the
number of its a's if it ends; one that does not is worth -1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END, A, VOCAB, LENGTH = 0, 1, 2, 8, 3
PROMPTS = {"b": [3], "cd": [4, 5]}
GOING_ON = [token for token in range(VOCAB) if token != END]  # padding too is a token that the policy may choose


def publish(folder: Path, seed: int = 0) -> Path:
    """A model folder as transformers writes one, with random weights large enough that tokens matter."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    words = {word: index for index, word in enumerate(["<pad>", "<end>", *"abcdef"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")
    fast.chat_template = (
        "{% for message in messages %}{{ message.content }}"
        "{% if message.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False, initializer_range=0.15,
        pad_token_id=PAD, bos_token_id=None, eos_token_id=END,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def points(answer: Sequence[int]) -> float:
    """What a program says of an answer; the -1 of one without an end is the loop's missing_eos_penalty."""
    return float(answer.count(A)) if answer[-1] == END else 0.0  # type: ignore[attr-defined]


def open_plain(folder: Path, adapter: Path | None = None) -> Any:
    """The folder in float64, read by transformers (and peft) alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float64)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


@torch.no_grad()
def tables(model: Any, prompt: list[int], temperature: float = 1.0) -> list[Tensor]:
    """Log-probabilities of the next token after every answer so far, [7^t, V] for t = 0, 1, 2 tokens."""
    found = []
    for length in range(LENGTH):
        rows = torch.tensor([[*prompt, *answer] for answer in itertools.product(GOING_ON, repeat=length)])
        found.append((model(input_ids=rows).logits[:, -1] / temperature).log_softmax(-1))
    return found


def objective(reference: Any, beta: float, model: Any = None, temperature: float = 1.0) -> float:
    """E[reward - beta * KL to the reference], the mean over the prompts; of the best policy where none is given.

    By backward induction over all prefixes; for the best policy that is soft value iteration.
    """
    worth = []
    for prompt in PROMPTS.values():
        ref = tables(reference, prompt, temperature)
        own = tables(model, prompt, temperature) if model is not None else [None] * LENGTH
        later = torch.full((len(GOING_ON) ** LENGTH,), -1.0, dtype=torch.float64)  # cut off
        for length in reversed(range(LENGTH)):
            prefixes = itertools.product(GOING_ON, repeat=length)
            gain = torch.zeros_like(ref[length])
            gain[:, END] = torch.tensor([float(prefix.count(A)) for prefix in prefixes])
            gain[:, GOING_ON] = later.view(-1, len(GOING_ON))
            logp = own[length]
            if logp is None:
                later = beta * torch.logsumexp(ref[length] + gain / beta, -1)
            else:
                later = (logp.exp() * (gain - beta * (logp - ref[length]))).sum(-1)
        worth.append(float(later[0]))
    return sum(worth) / len(worth)
