"""Conversations -> token ids, the same way in every stage.

A prompt is the rendered conversation up to the point where the assistant speaks; a completion is
tokenised on its own and ends with the end-of-turn token. So training sees exactly the tokens, and the
boundary between them, that generation sees.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import ModelError, first_line
from stages.modeling.locate import locate

Messages = Sequence[Mapping[str, Any]]
# Of documents in pretraining, as models name it; the last is DeepSeek's.
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<\uff5cend\u2581of\u2581sentence\uff5c>")
TEMPLATE_SECONDS = 10.0  # for one conversation, which takes less than a millisecond


@dataclass(frozen=True)
class Encoded:
    """Token ids with a 1 in `completion_mask` where a token counts in the loss. Equal lengths."""

    input_ids: list[int]
    completion_mask: list[int]

    @property
    def trained(self) -> list[int]:
        """The positions of the tokens that count in the loss; nothing precedes the first token, so it never does."""
        return [place for place, counts in enumerate(self.completion_mask) if counts and place]

    @property
    def num_trained(self) -> int:
        return len(self.trained)


class Chat:
    """A tokenizer with its chat template, checked once for the traps that ruin a training run."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                "the tokenizer has no chat template",
                where=tokenizer.name_or_path,
                remedy="use an instruct model, or put a chat_template.jinja in the model folder",
            )
        self.tokenizer = tokenizer
        self.stop_ids = _stop_ids(tokenizer)
        self.pad_id = _choose_pad(tokenizer, self.stop_ids)
        self.end_of_turn = self._find_end_of_turn()
        self.begin_of_text = self._find_begin_of_text()
        self.end_of_text = self._find_end_of_text()

    @property
    def digest(self) -> str:
        """Equal for tokenizers that give every conversation the same ids: vocabulary and template."""
        known = json.dumps([sorted(self.tokenizer.get_vocab().items()), self.tokenizer.chat_template])
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    def check_same(self, artifact: Artifact) -> None:
        """ModelError if the artifact was made with another tokenizer: it would read these ids as other words."""
        theirs = artifact.info.get("tokenizer")
        if theirs not in (None, self.digest):
            raise ModelError(
                f"'{artifact.name}' was trained with another tokenizer or chat template than the policy",
                where=str(artifact.path),
                remedy="train it from the same base model",
            )

    def prompt_ids(self, messages: Messages, tools: Sequence[Any] | None = None) -> list[int]:
        """The conversation and the assistant's header, ready for a completion."""
        return self._tokenize(self.render(messages, tools, open_turn=True))

    def completion_ids(self, prompt: Messages, completion: str, tools: Sequence[Any] | None = None) -> list[int]:
        """The completion's tokens, the end-of-turn token last."""
        return self._turn_ids(prompt, {"role": "assistant", "content": completion}, tools)

    def encode(
        self,
        messages: Messages,
        tools: Sequence[Any] | None = None,
        loss_on: Literal["completion", "assistant"] = "completion",
    ) -> Encoded:
        """A whole conversation; the loss counts on the last assistant turn, or on all of them."""
        last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
        trained = [i for i in range(last + 1) if messages[i]["role"] == "assistant"]
        trained = trained if loss_on == "assistant" else trained[-1:]
        ids: list[int] = []
        mask: list[int] = []
        rendered = ""
        for turn in trained:
            opened = self.render(messages[:turn], tools, open_turn=True)
            context = self._tokenize(self._rest(opened, rendered))
            answer = self._turn_ids(messages[:turn], messages[turn], tools)
            ids += context + answer
            mask += [0] * len(context) + [1] * len(answer)
            closed = self.render(messages[: turn + 1], tools)
            rendered = closed[: len(closed) - len(self._after_end(closed))]
        return Encoded(ids, mask)

    def encode_text(self, text: str) -> Encoded:
        """A document as in pretraining, without a template: begin token, where there is one, text and end of text.

        Every token counts in the loss but the first, which nothing precedes.
        """
        begin, end = ([token] if token is not None else [] for token in (self.begin_of_text, self.end_of_text))
        ids = [*begin, *self._tokenize(text, verbose=False), *end]
        return Encoded(ids, [int(place > 0) for place in range(len(ids))])

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def render(self, messages: Messages, tools: Sequence[Any] | None = None, open_turn: bool = False) -> str:
        """The text that the template makes of a conversation, with the assistant's header where the turn is open."""
        try:
            with _no_longer_than(TEMPLATE_SECONDS):
                return str(
                    self.tokenizer.apply_chat_template(
                        [dict(message) for message in messages],
                        tools=list(tools) if tools else None,
                        tokenize=False,
                        add_generation_prompt=open_turn,
                    )
                )
        except Exception as error:  # templates raise jinja2's and their own errors, by name unknown here
            raise ModelError(
                f"the chat template refused a conversation: {first_line(error)}",
                where=self.tokenizer.name_or_path,
                remedy="check its roles (some templates have no system or tool turn)",
            ) from error

    def _turn_ids(self, before: Messages, turn: Mapping[str, Any], tools: Sequence[Any] | None) -> list[int]:
        opened = self.render(before, tools, open_turn=True)
        closed = self.render([*before, turn], tools)
        ids = self._tokenize(self._rest(closed, opened))
        if self.end_of_turn not in ids:
            raise ModelError(
                "the chat template writes no end token after an answer, so the model would never learn to stop",
                where=self.tokenizer.name_or_path,
                remedy=f"end each assistant turn with {self.tokenizer.eos_token} in the template",
            )
        last = len(ids) - 1 - ids[::-1].index(self.end_of_turn)
        return ids[: last + 1]

    def _rest(self, whole: str, start: str) -> str:
        if not whole.startswith(start):
            raise ModelError(
                "the chat template changes earlier turns when one is added, so prompt and completion "
                "cannot be told apart",
                where=self.tokenizer.name_or_path,
                remedy="use a template that only appends, for training",
            )
        return whole[len(start) :]

    def _after_end(self, text: str) -> str:
        """What a template writes after the last end-of-turn token (often a newline)."""
        token = self.tokenizer.convert_ids_to_tokens(self.end_of_turn)
        return text[text.rindex(token) + len(token) :]

    def _tokenize(self, text: str, verbose: bool = True) -> list[int]:
        """Never adds special tokens: whoever calls it has. `verbose` warns of a text longer than the model reads."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=verbose)["input_ids"])

    def _find_begin_of_text(self) -> int | None:
        """The begin token, if the tokenizer begins texts with it: some, as SmolLM2's, name a chat's token so."""
        begin = self.tokenizer.bos_token_id
        return begin if self.tokenizer("a")["input_ids"][:1] == [begin] else None

    def _find_end_of_text(self) -> int | None:
        """The token that ended documents in pretraining; one that is known only to close turns is none."""
        special = _special(self.tokenizer)
        known = [special[name] for name in END_OF_TEXT if name in special]
        eos = self.tokenizer.eos_token_id
        return known[0] if known else eos if eos != self.end_of_turn else None

    def _find_end_of_turn(self) -> int:
        """The stop token with which the template closes an assistant turn."""
        before = [{"role": "user", "content": "a"}]
        opened = self.render(before, open_turn=True)
        ids = self._tokenize(self._rest(self.render([*before, {"role": "assistant", "content": "b"}]), opened))
        found = [token for token in ids if token in self.stop_ids]
        if not found:
            raise ModelError(
                "the chat template writes no end token after an answer, so the model would never learn to stop",
                where=self.tokenizer.name_or_path,
                remedy=f"end each assistant turn with {self.tokenizer.eos_token} in the template",
            )
        return found[-1]


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """TimeoutError inside after that many seconds of computing: the sandbox that renders templates does not end loops.

    Needs the main thread, where signals arrive; in another one nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    handler = signal.signal(signal.SIGVTALRM, stop)
    timer = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, *timer)  # somebody else's


def load_chat(model: ModelConfig) -> Chat:
    """The base model's tokenizer as a Chat."""
    from transformers import AutoTokenizer

    place = locate(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place.path, revision=place.revision, trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # of a stranger's files; the tokenizers library raises plain Exception
        raise ModelError(
            f"the tokenizer could not be loaded: {first_line(error)}",
            where=place.label,
            remedy="check model_name_or_path, and the network for a hub id",
        ) from error
    return Chat(tokenizer)


def _stop_ids(tokenizer: Any) -> frozenset[int]:
    """Every token that may end a turn: the tokenizer's eos and the usual end-of-turn and end-of-text tokens."""
    usual = (*END_OF_TEXT, "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
    special = _special(tokenizer)
    ids = {special[token] for token in usual if token in special}
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return frozenset(ids)


def _choose_pad(tokenizer: Any, stop_ids: frozenset[int]) -> int:
    """A padding token that is no stop token, where the vocabulary has one.

    With pad = eos, libraries that infer lengths from `ids != pad` hide the end of every answer.
    """
    pad = tokenizer.pad_token_id
    if pad is None or pad in stop_ids:
        special = _special(tokenizer)
        free = {
            text: index for text, index in special.items() if index not in stop_ids and index != tokenizer.bos_token_id
        }
        named = [text for text in free if "pad" in text.lower()] or sorted(free, key=lambda text: free[text])
        if named:
            tokenizer.pad_token = named[0]
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return int(tokenizer.pad_token_id)


def _special(tokenizer: Any) -> dict[str, int]:
    """The special tokens that were added to the vocabulary, by their text."""
    return {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
