"""Held-out prompts, a candidate's answers to them, and one figure a prompt for each thing measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from pipeline.contract import Context, Source, TaskConfig
from pipeline.errors import Interrupted
from stages.checkpoint.streams import permutation
from stages.evaluate.checks.task import check_answer
from stages.formats.load import load
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.objectives.comparisons import difference, interval
from stages.rollout.generate import BATCH, Completion, generate
from stages.rollout.score import in_batches, token_kl
from stages.rollout.sequences import Sequences

Figures = dict[str, list[float | None]]  # a figure's value for each question; None: the question has no such figure


@dataclass(frozen=True)
class Question:
    """One held-out prompt with its ids, what is known of the right answer, and its task."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    ids: list[int]
    reference: Any
    task: TaskConfig
    documents: Any = None  # that the prompt came with

    @property
    def text(self) -> str:
        """The conversation as a person reads it."""
        return read_as_text(self.messages)

    def check(self, text: str) -> dict[str, float]:
        """What the question's task says of an answer."""
        return check_answer(text, self.reference, self.task, self.documents)


@dataclass(frozen=True)
class Answers:
    """One candidate's completions, in the order of the questions, and the tokens that each call read and wrote.

    A call that drew several answers to choose from read its prompt once and wrote all of them. None: a server did not
    say. `remark`: how the candidate was asked otherwise than the rest; "" where it was not.
    """

    completions: list[Completion]
    texts: list[str]
    num_prompt_tokens: list[int | None]
    num_new_tokens: list[int | None]
    remark: str = ""

    def sequences(self, questions: Sequence[Question]) -> Sequences:
        """The questions' own prompts, whatever was sent for them, and the completions, as ids."""
        return Sequences([q.ids for q in questions], [c.ids for c in self.completions])


def read_as_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as a person reads it."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def heldout_questions(sources: Sequence[Source], chat: Chat, limit: int | None, seed: int) -> list[Question]:
    """The held-out prompts of all sources; `limit` picks that many at random by the seed.

    Each prompt once: as the first source has it, but for one that has a reference where that has none.
    """
    if limit == 0:
        return []
    found: dict[str, Question] = {}
    for source in sources:
        for record in load(source, "prompt", "heldout").records:
            ids = chat.prompt_ids(record.prompt)
            question = Question(record.id, record.prompt, ids, record.reference, source.task, record.documents)
            known = found.get(record.prompt_key)
            if known is None or (known.reference is None and question.reference is not None):
                found[record.prompt_key] = question
    questions = list(found.values())
    if limit is None or limit >= len(questions):
        return questions
    return [questions[i] for i in sorted(permutation(len(questions), seed, "heldout")[:limit])]


def ask(
    backbone: Backbone,
    role: str,
    chat: Chat,
    questions: Sequence[Question],
    context: Context,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    batch_size: int = BATCH,
) -> Answers:
    """The role's answers to all questions, asked as they are."""
    limits = {"max_new_tokens": max_new_tokens, "temperature": temperature, "batch_size": batch_size}
    return ask_prompts(backbone, role, chat, [q.ids for q in questions], context, label=role, **limits)


def ask_prompts(
    backbone: Backbone,
    role: str,
    chat: Chat,
    prompts: Sequence[list[int]],
    context: Context,
    *,
    label: str,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    purpose: str = "answers",
) -> Answers:
    """The role's answers to prompts of any making; `label` is what the progress display calls it."""

    def on_batch(done: int) -> None:
        advance(done)
        if context.should_stop():
            raise Interrupted("stopped", remedy="run the same command again to go on")

    with context.progress(f"{label} answers", len(prompts)) as advance:
        completions = generate(
            backbone,
            role,
            chat,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=context.seed,
            purpose=purpose,
            batch_size=batch_size,
            on_batch=on_batch,
        )
    texts = [chat.decode(c.ids) for c in completions]
    return Answers(completions, texts, [len(ids) for ids in prompts], [len(c.ids) for c in completions])


def kl_to_reference(
    backbone: Backbone,
    role: str,
    reference: str,
    questions: Sequence[Question],
    answers: Answers,
    temperature: float = 1.0,
) -> list[float | None]:
    """KL(role || reference) over the vocabulary, summed along each answer, nats. The answers are the role's own."""
    measured = partial(token_kl, backbone, role, reference, temperature=temperature)
    (kl_BR,) = in_batches(measured, answers.sequences(questions))
    return [float(kl) for kl in kl_BR.sum(1)]


def measure(questions: Sequence[Question], answers: Answers) -> Figures:
    """Each check's result per question (None where a question has no such check), with length and whether it ended."""
    checked = [question.check(text) for question, text in zip(questions, answers.texts, strict=True)]
    names = sorted({name for result in checked for name in result}, key=lambda name: (name != "valid_json", name))
    figures: Figures = {name: [result.get(name) for result in checked] for name in names}
    figures["length"] = [float(len(c.ids)) for c in answers.completions]
    figures["ended"] = [float(c.ended) for c in answers.completions]
    return figures


def mean(values: Sequence[float | None]) -> float:
    """Over the questions that have the figure."""
    return fmean(value for value in values if value is not None)


def mean_interval(values: Sequence[float | None]) -> tuple[float, float, float]:
    """Mean with its 95% interval, over the questions that have the figure."""
    return interval([value for value in values if value is not None])


def difference_interval(values: Sequence[float | None], baseline: Sequence[float | None]) -> tuple[float, float, float]:
    """Mean difference with its 95% interval, paired, over the questions where both have the figure."""
    both = [(v, b) for v, b in zip(values, baseline, strict=True) if v is not None and b is not None]
    ours, theirs = zip(*both, strict=True)
    return difference(ours, theirs)


def with_interval(triple: tuple[float, float, float]) -> str:
    """`0.953 [0.906, 0.984]`."""
    middle, low, high = triple
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]"


def before_after(name: str, old: Sequence[float | None], new: Sequence[float | None]) -> list[str | float | None]:
    """A table row: the figure of both models with intervals, and the paired difference."""
    return [
        name,
        with_interval(mean_interval(old)),
        with_interval(mean_interval(new)),
        with_interval(difference_interval(new, old)),
    ]


def as_lines(rows: Sequence[Sequence[str | float | None]]) -> list[str]:
    """`before_after` rows as lines for the terminal; a figure of the tuned model alone has no arrow."""
    lines = []
    for name, before, after, change in rows:
        lines.append(f"{name}: {before} -> {after}, difference {change}" if before else f"{name}: {after}")
    return lines
