"""What tuning did to what it was not meant to touch: perplexity, divergence and small tasks on `general` data.

The rows of `general` are read, not answered: how likely does each plain candidate find their reference completions, and
how far is its distribution before each of their tokens from the first candidate's? Where a source of `general` names
a task its prompts are answered too, and a program checks the answers. The rows are those of the held-out side; a file
that nothing was tuned on may say `split: all`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from pipeline.contract import Context, Source, Table, TaskConfig
from pipeline.errors import DataError, Interrupted
from stages.checkpoint.streams import permutation
from stages.evaluate.answers import (
    Figures,
    Question,
    ask,
    difference_interval,
    heldout_questions,
    mean,
    mean_interval,
    measure,
    with_interval,
)
from stages.evaluate.config import Config
from stages.formats.inputs import read_sources
from stages.formats.records import Instruction
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap
from stages.rollout.score import in_batches, logprobs, token_kl
from stages.rollout.sequences import Sequences

MAX_ROWS = 200  # of a source, and prompts answered: picked by the seed
MAX_LENGTH = 1024  # tokens; a longer row is left out and counted
# Perplexity that rose by this share is warned of: what storing Llama 3 8B in three bits costs it (q3_K_M +10.5%, where
# four bits, which people accept, cost +2.8%: llama.cpp, tools/perplexity/README.md).
MAX_RISE = 0.10
Interval = tuple[float, float, float]  # mean, low, high
Row = list[str | float | None]  # of a table


@dataclass(frozen=True)
class Forgetting:
    """Fragments for the report, a sentence for each thing that broke, and figures by `candidate/figure/source`."""

    tables: list[Table]
    warnings: list[str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Texts:
    """Rows of one source whose completions are read."""

    name: str
    rows: Sequences
    chosen: str  # how many rows of how many, and why not all


@dataclass(frozen=True)
class Reading:
    """What one candidate makes of one source, a value a completion token."""

    nll_N: Tensor  # -log p(token), nats
    kl_N: Tensor | None  # KL(candidate || first) over the vocabulary, nats; None of the first


def general_texts(context: Context, chat: Chat) -> list[Texts]:
    """The rows of `general`; none where the recipe names none. DataError if no row of a source can be read."""
    if not context.data.get("general"):
        return []
    return [
        _as_ids(chat, source.name, records, context.seed)
        for source, records in read_sources(context, "general", "instruction", "heldout")
    ]


def forgetting(
    backbone: Backbone,
    chat: Chat,
    context: Context,
    config: Config,
    sources: Sequence[Texts],
    *,
    roles: Mapping[str, str],
    own: Mapping[str, Sequences],
) -> Forgetting:
    """Read and answer `general` with every plain candidate; nothing where the recipe names none.

    sources: what `general_texts` read. roles: each one's role on the backbone by its name, the first first. own: their
    answers to the evaluation's own questions, to hold the divergence on `general` against.
    """
    found = Forgetting([], [], {})
    if not sources:
        return found
    rows = [row for texts in sources for row in _told(texts, _readings(context, backbone, roles, texts), found)]
    rows.append(_own_divergence(backbone, roles, own, found))
    found.tables.append(_table(rows, sources, list(roles)))
    questions = general_questions(context.data["general"], chat, config.max_prompts, context.seed)
    if questions:
        limits = {"max_new_tokens": config.max_new_tokens, "batch_size": config.batch_size}
        figures = {
            name: measure(questions, ask(backbone, role, chat, questions, context, **limits))
            for name, role in roles.items()
        }
        found.tables.append(_task_table(figures, len(questions), found))
    return found


def general_questions(sources: Sequence[Source], chat: Chat, limit: int | None, seed: int) -> list[Question]:
    """The held-out prompts of those sources that name a task, at most MAX_ROWS."""
    checked = [source for source in sources if source.task != TaskConfig()]
    return heldout_questions(checked, chat, min(limit or MAX_ROWS, MAX_ROWS), seed)


def _as_ids(chat: Chat, name: str, records: Sequence[Instruction], seed: int) -> Texts:
    """Prompt and last answer of at most MAX_ROWS rows that are short enough."""
    picked = sorted(permutation(len(records), seed, "general", name)[:MAX_ROWS])
    encoded = [chat.encode(records[i].messages, records[i].tools) for i in picked]
    short = [row for row in encoded if len(row.input_ids) <= MAX_LENGTH]
    if not short:
        raise DataError(
            f"none of {len(encoded)} rows has at most {MAX_LENGTH} tokens",
            where=f"evaluate.general: {name}",
            remedy="give shorter texts",
        )
    starts = [row.completion_mask.index(1) for row in short]
    ids = [row.input_ids for row in short]
    rows = Sequences(
        [i[:start] for i, start in zip(ids, starts, strict=True)],
        [i[start:] for i, start in zip(ids, starts, strict=True)],
    )
    chosen = f"{name} {len(short)} of {len(records)} rows"
    if dropped := len(encoded) - len(short):
        chosen += f" ({dropped} longer than {MAX_LENGTH} tokens)"
    return Texts(name, rows, chosen)


def _readings(context: Context, backbone: Backbone, roles: Mapping[str, str], texts: Texts) -> dict[str, Reading]:
    first = next(iter(roles.values()))
    found = {}
    with context.progress(f"reading {texts.name}", len(roles)) as advance:
        for name, role in roles.items():
            (logprobs_BR,) = in_batches(partial(logprobs, backbone, role), texts.rows)
            kl_N = None if role == first else _kl(backbone, role, first, texts.rows)
            found[name] = Reading(-logprobs_BR[texts.rows.mask_BR], kl_N)
            advance(1)
            if context.should_stop():
                raise Interrupted("stopped", remedy="run the same command again to go on")
    return found


def _kl(backbone: Backbone, role: str, first: str, rows: Sequences) -> Tensor:
    """KL(role || first) over the vocabulary before each completion token, row after row."""
    (kl_BR,) = in_batches(partial(token_kl, backbone, role, first), rows)
    return kl_BR[rows.mask_BR]


def _told(texts: Texts, read: Mapping[str, Reading], found: Forgetting) -> list[Row]:
    """The source's rows of the table; its metrics and warnings go into `found`."""
    groups = _row_of_each_token(texts.rows)
    first = next(iter(read))
    perplexity: Row = [f"{texts.name}: perplexity"]
    change: Row = [f"{texts.name}: loss less {first}'s"]
    divergence: Row = [f"{texts.name}: KL to {first}"]
    for name, reading in read.items():
        loss = bootstrap_ci(reading.nll_N, groups=groups)
        perplexity.append(with_interval(_each(math.exp, loss)))
        found.metrics[f"{name}/general_perplexity/{texts.name}"] = math.exp(loss[0])
        if reading.kl_N is None:
            change.append(None)
            divergence.append(None)
            continue
        rise = paired_bootstrap(reading.nll_N, read[first].nll_N, groups=groups)
        kl = bootstrap_ci(reading.kl_N, groups=groups)
        change.append(with_interval(rise))
        divergence.append(with_interval(kl))
        found.metrics[f"{name}/general_KL_to_{first}/{texts.name}"] = kl[0]
        if math.expm1(rise[0]) > MAX_RISE and rise[1] > 0:
            found.warnings.append(_warning(name, first, texts.name, loss[0], rise))
    return [perplexity, change, divergence]


def _own_divergence(
    backbone: Backbone, roles: Mapping[str, str], own: Mapping[str, Sequences], found: Forgetting
) -> Row:
    """KL to the first candidate along each candidate's own answers: how far it went where it was meant to go."""
    first, *others = roles
    row: Row = [f"own answers: KL to {first}", None]
    for name in others:
        kl = bootstrap_ci(_kl(backbone, roles[name], roles[first], own[name]), groups=_row_of_each_token(own[name]))
        row.append(with_interval(kl))
        found.metrics[f"{name}/own_KL_to_{first}"] = kl[0]
    return row


def _row_of_each_token(rows: Sequences) -> list[int]:
    """Tokens of one row are no independent evidence: whole rows are resampled."""
    return [row for row, completion in enumerate(rows.completions) for _ in completion]


def _each(function: Callable[[float], float], interval: Interval) -> Interval:
    middle, low, high = map(function, interval)
    return middle, low, high


def _warning(name: str, first: str, source: str, loss: float, change: Interval) -> str:
    before, after = math.exp(loss - change[0]), math.exp(loss)
    share, low, high = (math.expm1(value) for value in change)
    return (
        f"{name} has forgotten some of what {first} knew: on '{source}', which tuning was not meant to touch, "
        f"perplexity went from {before:.3g} to {after:.3g}, {share:+.0%} [{low:+.0%}, {high:+.0%}]. Train fewer steps "
        "or at a lower rate, or mix such rows into the training data."
    )


def _table(rows: list[Row], sources: Sequence[Texts], names: list[str]) -> Table:
    note = (
        f"Reference completions of `general` read, not answered: {'; '.join(texts.chosen for texts in sources)}. Loss "
        f"and KL in nats a token, KL(candidate || {names[0]}) over the vocabulary; own answers are those to this "
        "evaluation's questions. 95% bootstrap intervals over rows, differences paired. Warned of: perplexity "
        f"up by more than {MAX_RISE:.0%}, with an interval above 0"
    )
    return Table("What tuning was not meant to touch", ["figure", *names], rows, note)


def _task_table(figures: Mapping[str, Figures], num_questions: int, found: Forgetting) -> Table:
    """Each check of every candidate; one that got worse beyond chance is warned of."""
    first, *others = figures
    rows: list[Row] = []
    for check in figures[first]:
        rows.append([check, *(with_interval(mean_interval(own[check])) for own in figures.values())])
        for name, own in figures.items():
            found.metrics[f"{name}/general/{check.replace(' ', '_')}"] = mean(own[check])
        changes = {name: difference_interval(figures[name][check], figures[first][check]) for name in others}
        rows.append([f"{check} less {first}'s", None, *map(with_interval, changes.values())])
        # A length is neither good nor bad, and a part of a check ("label_accuracy/urgency") would warn twice.
        if check not in ("length", "ended") and "/" not in check:
            found.warnings.extend(
                f"{name} is worse than {first} at a task that tuning was not meant to touch: {check} changed by "
                f"{with_interval(change)}."
                for name, change in changes.items()
                if change[2] < 0
            )
    note = f"{num_questions} held-out prompts of `general`, greedy; 95% intervals, paired by prompt"
    return Table("General tasks", ["figure", *figures], rows, note)
