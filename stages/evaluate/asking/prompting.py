"""What a candidate is asked: a system turn, examples as turns, and passages before the question, as its way says.

The conversation of a question stays as it is but for this:
- the way's system text goes above the question's own system turn, an empty line between them;
- examples come next, their questions as user turns and their answers as the assistant's, without their system turns,
  the nearest one last: it is what the model has just read;
- passages stand in the last user turn, the best first, an empty line after each, then the question: the layout that the
  `squad` format trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pipeline.contract import Context
from pipeline.errors import DataError
from stages.checkpoint.streams import permutation
from stages.evaluate.answers import Question
from stages.evaluate.asking.passages import Library
from stages.evaluate.asking.search import Index
from stages.evaluate.config import Baseline, Config
from stages.formats.inputs import read_input
from stages.formats.records import Document, Instruction, Message, under_system

Messages = Sequence[Mapping[str, Any]]


class Material:
    """Examples that may be shown and documents that may be searched, read once for all candidates.

    No example asks what a question of the evaluation asks, whatever side the recipe took them from, and each asks
    something else; those with tool calls are left out.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        examples: Sequence[Instruction] = (),
        documents: Sequence[Document] = (),
        seed: int = 0,
    ) -> None:
        held = {asked(question.messages) for question in questions}
        usable: dict[str, Instruction] = {}
        for example in filter(_is_talk, examples):
            usable.setdefault(asked(example.messages[:-1]), example)
        self.examples = [example for key, example in usable.items() if key not in held]
        self._documents, self._seed = documents, seed

    def messages(self, question: Question, way: Baseline) -> list[Message]:
        """The conversation that is sent for this question."""
        turns = [dict(message) for message in question.messages]
        turns = under_system(turns, way.system) if way.system else turns
        if passages := self._library.find(_last_words(turns), way.num_passages) if way.num_passages else []:
            last = next(i for i in reversed(range(len(turns))) if turns[i]["role"] == "user")
            turns[last]["content"] = "\n\n".join([*(p.shown for p in passages), turns[last]["content"]])
        shown = [turn for example in self._picked(question, way) for turn in _turns(example)]
        head = 1 if turns[0]["role"] == "system" else 0
        return [*turns[:head], *shown, *turns[head:]]

    def _picked(self, question: Question, way: Baseline) -> list[Instruction]:
        if way.num_examples == 0:
            return []
        if way.pick == "random":
            return [self.examples[i] for i in self._shuffled[: way.num_examples]]
        order = self._index.order(asked(question.messages))[: way.num_examples]
        return [self.examples[i] for i, _ in reversed(order)]

    @cached_property
    def _shuffled(self) -> list[int]:
        return permutation(len(self.examples), self._seed, "examples")

    @cached_property
    def _index(self) -> Index:
        return Index([asked(example.messages[:-1]) for example in self.examples])

    @cached_property
    def _library(self) -> Library:
        return Library(self._documents)


def gather(config: Config, context: Context, questions: Sequence[Question]) -> Material:
    """What the recipe's baselines show: the training side of `examples`, and all of `documents`."""
    ways = config.baselines.values()
    examples = read_input(context, "examples", "instruction", "train") if any(w.num_examples for w in ways) else []
    documents = read_input(context, "documents", "document", "all") if any(w.num_passages for w in ways) else []
    material = Material(questions, examples, documents, context.seed)
    for name, way in config.baselines.items():
        if way.num_examples > len(material.examples):
            raise DataError(
                f"num_examples is {way.num_examples}; of {len(examples)} rows for training {len(material.examples)} "
                "can be shown, as each must ask something else, also than the held-out prompts, and call no tool",
                where=f"evaluate.baselines.{name}",
                remedy="lower num_examples, or name more data as examples",
            )
    return material


def asked(messages: Messages) -> str:
    """What a conversation asks, for telling equal questions: its words but the system's, case and white space aside."""
    said = [str(message["content"]) for message in messages if message["role"] != "system"]
    return " ".join(" ".join(said).lower().split())


def _last_words(messages: Messages) -> str:
    return next((str(m["content"]) for m in reversed(messages) if m["role"] == "user"), "")


def _turns(example: Instruction) -> list[Message]:
    return [
        {"role": message["role"], "content": message["content"]}
        for message in example.messages
        if message["role"] != "system"
    ]


def _is_talk(example: Instruction) -> bool:
    return not example.tools and all(
        message["role"] in ("system", "user", "assistant") and not message.get("tool_calls")
        for message in example.messages
    )
