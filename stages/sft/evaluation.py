"""The tuned model against its input: loss on held-out rows, and what a program can check of its answers.

Of a conversation the last answer is read, and only where all of it fits max_length; of a text all but its first token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from pipeline.contract import Artifact, Context, Result, Source, Table
from pipeline.errors import DataError
from stages.evaluate.answers import as_lines, ask, before_after, heldout_questions, measure, with_interval
from stages.formats.inputs import read_sources
from stages.formats.records import Instruction, Text
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap
from stages.rollout.score import in_batches, logprobs
from stages.rollout.sequences import Sequences
from stages.sft.config import Config
from stages.sft.data import divided

Row = list[str | float | None]  # of a table


@dataclass(frozen=True)
class Heldout:
    """What the models are held against. The first token of a text's row stands as its prompt, the others are read."""

    answers: Sequences
    texts: Sequences
    text_of: list[int]  # for each row of `texts`, the number of the text that it is a part of
    asked: list[Source]  # those with prompts to answer


def read_heldout(context: Context, chat: Chat, max_length: int) -> Heldout:
    """The held-out side; DataError if it has conversations or texts of which none can be read, before any training."""
    sources = read_sources(context, "data", "instruction or text", "heldout")
    records = [record for _, held in sources for record in held]
    answers = _answers(chat, [record for record in records if isinstance(record, Instruction)], max_length)
    texts, text_of = _texts(chat, [record for record in records if isinstance(record, Text)], max_length)
    asked = [source for source, held in sources if any(isinstance(record, Instruction) for record in held)]
    return Heldout(answers, texts, text_of, asked)


def evaluate(config: Config, context: Context, chat: Chat, heldout: Heldout, counts: dict[str, float]) -> Result:
    """The stage's result: both models' figures side by side; `counts` join the metrics."""
    start = context.artifact("policy")
    backbone = open_backbone(context.model)
    backbone.load("input", start)
    backbone.load("tuned", Artifact("tuned", "policy", context.output))
    lines: list[Row] = []
    metrics, notes = dict(counts), []
    if len(heldout.answers):
        old, new = (_answer_nll(backbone, role, heldout.answers) for role in ("input", "tuned"))
        lines.append(before_after("loss (nats a token)", old, new))
        metrics |= {"heldout/loss": sum(new) / len(new), "heldout/input_loss": sum(old) / len(old)}
        notes.append(f"{len(heldout.answers)} held-out rows")
    if len(heldout.texts):
        lines += _text_lines(
            *(_text_nll(backbone, role, heldout.texts) for role in ("input", "tuned")), heldout, metrics
        )
        notes.append(f"{len(set(heldout.text_of))} held-out texts, whole ones resampled")

    questions = heldout_questions(heldout.asked, chat, config.eval_prompts, context.seed)
    if questions:
        before, after = (
            measure(questions, ask(backbone, role, chat, questions, context, max_new_tokens=config.max_new_tokens))
            for role in ("input", "tuned")
        )
        for name in after:
            lines.append(before_after(name, before[name], after[name]))
            known = [v for v in after[name] if v is not None]
            metrics[f"heldout/{name}"] = sum(known) / len(known)
    columns = ["held-out figure", start.name, "tuned", "difference"]
    note = f"{', '.join(notes)}, {len(questions)} prompts answered greedily; 95% bootstrap intervals"
    return Result(metrics, [Table("Held-out, before and after sft", columns, lines, note)], as_lines(lines))


def _answers(chat: Chat, rows: Sequence[Instruction], max_length: int) -> Sequences:
    """Prompt and last answer of each row that fits."""
    prompts, completions = [], []
    for row in rows:
        encoded = chat.encode(row.messages, row.tools)
        start = encoded.completion_mask.index(1)
        if len(encoded.input_ids) <= max_length:
            prompts.append(encoded.input_ids[:start])
            completions.append(encoded.input_ids[start:])
    if rows and not prompts:
        raise DataError(
            f"none of {len(rows)} held-out conversations fits into max_length {max_length}",
            where="sft.data",
            remedy="raise max_length",
        )
    return Sequences(prompts, completions)


def _texts(chat: Chat, texts: Sequence[Text], max_length: int) -> tuple[Sequences, list[int]]:
    """The rows of all texts, and the number of the text that each is of."""
    rows = [
        (number, row.input_ids)
        for number, text in enumerate(texts)
        for row in divided(chat.encode_text(text.full_text), max_length)
        if row.num_trained
    ]
    if texts and not rows:
        raise DataError(
            f"none of {len(texts)} held-out texts has two tokens", where="sft.data", remedy="give longer texts"
        )
    return Sequences([ids[:1] for _, ids in rows], [ids[1:] for _, ids in rows]), [number for number, _ in rows]


def _answer_nll(backbone: Backbone, role: str, rows: Sequences) -> list[float]:
    """Mean negative log-likelihood a completion token, per row."""
    (logprobs_BR,) = in_batches(lambda part: logprobs(backbone, role, part), rows)
    mask_BR = rows.mask_BR
    return (-(logprobs_BR * mask_BR).sum(1) / mask_BR.sum(1)).tolist()


def _text_nll(backbone: Backbone, role: str, rows: Sequences) -> Tensor:
    """Negative log-likelihood of each token that is read, row after row, [N]."""
    (logprobs_BR,) = in_batches(lambda part: logprobs(backbone, role, part), rows)
    return -logprobs_BR[rows.mask_BR]


def _text_lines(old_N: Tensor, new_N: Tensor, heldout: Heldout, metrics: dict[str, float]) -> list[Row]:
    """Loss and perplexity, each token weighing the same; the metrics get both."""
    rows = zip(heldout.text_of, heldout.texts.completions, strict=True)
    groups = [text for text, completion in rows for _ in completion]
    old, new = (bootstrap_ci(nll_N, groups=groups) for nll_N in (old_N, new_N))
    change = paired_bootstrap(new_N, old_N, groups=groups)
    metrics |= {
        "heldout/text_loss": new[0],
        "heldout/input_text_loss": old[0],
        "heldout/text_perplexity": math.exp(new[0]),
        "heldout/input_text_perplexity": math.exp(old[0]),
    }
    share, low, high = (f"{math.expm1(value):+.1%}" for value in change)
    return [
        ["loss on texts (nats a token)", with_interval(old), with_interval(new), with_interval(change)],
        [
            "perplexity on texts",
            with_interval(_each(math.exp, old)),
            with_interval(_each(math.exp, new)),
            f"{share} [{low}, {high}]",
        ],
    ]


def _each(function: Callable[[float], float], interval: tuple[float, float, float]) -> tuple[float, float, float]:
    mean, low, high = map(function, interval)
    return mean, low, high
