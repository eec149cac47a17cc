"""A policy -> a folder that other programs load, published only once its greedy answers have been compared.

The folder is written under a temporary name, read back by plain transformers, held against the artifact on held-out
prompts (agreement.py), and renamed. An export that answers otherwise for another reason than rounding never appears.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.contract import Artifact, ModelConfig, Source
from pipeline.errors import DataError, ModelError, PosttuneError, StageFailed, UserError, disk_problem
from stages.checkpoint.store import sync
from stages.export import agreement, converter, hub, weights
from stages.export.card import write_card
from stages.formats.load import load
from stages.formats.opening import common_system
from stages.formats.records import Prompt, Text
from stages.modeling.quiet import quieten

Format = Literal["merged", "adapter", "gguf"]
Say = Callable[[str], None]
BEGINNING = 200  # characters of a text, where there are no prompts


@dataclass(frozen=True)
class Order:
    """What is asked for. `dtype` is of the saved weights; an adapter keeps its own."""

    to: Path
    format: Format = "merged"
    dtype: weights.DType = "float32"
    num_prompts: int = 8
    max_new_tokens: int = 48
    push: str | None = None


def export(
    artifact: Artifact, model: ModelConfig, order: Order, sources: Sequence[Source] = (), say: Say = print
) -> None:
    """Write the policy to `order.to`, an empty or a new folder; `sources` hold the prompts that it is checked on."""
    quieten()
    _check_order(artifact, order)
    if order.push:
        hub.check_name(order.push)
    program = converter.find(order.to, order.dtype) if order.format == "gguf" else None
    place = order.to.absolute()  # `.` has no name of its own
    with _published(place) as folder:
        say(f"{artifact.name}: writing it as {_told(order)}")
        if order.format == "adapter":
            written = weights.write_adapter(artifact, model, folder)
        else:
            written = weights.write_merged(artifact, model, folder, order.dtype)
        if program is not None:
            written = converter.convert(program, written, place.name, order.dtype)
        prompts = _prompts(sources, order.num_prompts, say)
        found = agreement.compare(artifact, model, written, prompts, order.max_new_tokens)
        for line in found.told():
            say(line)
        found.check()
        system = common_system(sources)
        write_card(written, artifact, place, found, system)
    say(f"{artifact.name}: exported to {order.to}")
    for line in written.commands(place):
        say(line)
    if system:
        say(f"ask it with the system prompt that its rows have: {system}")
    if order.push:
        say(f"pushed: {hub.push(order.to, order.push)}")


def _told(order: Order) -> str:
    return "an adapter" if order.format == "adapter" else f"{order.format} weights in {order.dtype}"


def _check_order(artifact: Artifact, order: Order) -> None:
    where = f"--to {order.to}"
    if order.to.is_symlink() or (order.to.exists() and not order.to.is_dir()):
        raise UserError("is no folder", where=where, remedy="name a new folder, or an empty one")
    if order.to.is_dir() and any(order.to.iterdir()):
        raise UserError("is not empty", where=where, remedy="name a new folder, or an empty one")
    if not order.to.absolute().parent.is_dir():
        parent = order.to.parent
        raise UserError("its parent folder does not exist", where=where, remedy=f"mkdir -p {parent}")
    if order.format == "adapter" and artifact.info.get("tuning") != "lora":
        raise UserError(
            f"'{artifact.name}' is no adapter: {'the base model' if artifact.path is None else 'all its weights'}",
            where="--format adapter",
            remedy="leave --format out: it is exported whole",
        )


@contextmanager
def _published(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its name at the end, or goes."""
    temporary = to.with_name(f"{to.name}.tmp-{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        readable = (temporary / "README.md").stat().st_mode & 0o777  # safetensors writes for its owner alone
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(readable)
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        temporary.rename(to)  # over an empty folder, too
        sync(to.parent)
    except (PosttuneError, KeyboardInterrupt):
        raise
    except Exception as error:  # safetensors and tokenizers wrap what the disk says in their own kinds
        problem = disk_problem(error)
        if problem is None:
            raise
        raise StageFailed(problem, where=str(to), remedy="free some space, or name a folder on another disk") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prompts(sources: Sequence[Source], count: int, say: Say) -> list[Prompt]:
    """The first held-out prompts of the sources that have any, from each as many; of plain texts, how they begin."""
    found: list[list[Prompt]] = []
    for source in sources if count else ():
        try:
            found.append(_heldout(source)[:count])
        except (DataError, ModelError) as error:
            say(f"no prompts of '{source.name}' for the check: {error.problem}")
    turns = max(map(len, found), default=0)
    return [rows[turn] for turn in range(turns) for rows in found if turn < len(rows)][:count]


def _heldout(source: Source) -> list[Prompt]:
    try:
        return [record for record in load(source, "prompt", "heldout").records if isinstance(record, Prompt)]
    except DataError:
        records = load(source, "instruction or text", "heldout").records
        texts = [record for record in records if isinstance(record, Text)]
        if not texts:
            raise
        return [Prompt(text.id, ({"role": "user", "content": text.text[:BEGINNING]},)) for text in texts]
