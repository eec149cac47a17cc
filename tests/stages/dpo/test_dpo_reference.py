"""The reference's log-probabilities: computed once, read back on a resume, and never taken for those of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Log, make_context, same_weights

from pipeline.contract import Artifact, Context, ModelConfig
from pipeline.errors import Interrupted
from stages import dpo
from stages.dpo.data import Pair
from stages.dpo.reference import FILE, REFERENCE, reference_logprobs
from stages.modeling.backbone import open_backbone

PAIRS = [Pair(str(i), [5, 6 + i], [10 + i, 11, 2], [20 + i, 2]) for i in range(5)]
STEPS = [[[0, 1], [2, 3]], [[4]], [[3, 1], [0]]]
CONFIG = dpo.Config(policy="policy", data="rows", max_steps=6, per_device_train_batch_size=2, eval_prompts=0,
                    gradient_accumulation_steps=1, learning_rate=1e-2, max_length=96, save_steps=3)  # fmt: skip


@pytest.fixture
def work(model: ModelConfig, policies: list[Path], tmp_path: Path) -> Callable[..., tuple[torch.Tensor, bool]]:
    """Gives the log-probabilities, and whether they were computed; all calls share a checkpoint folder."""

    def worked(pairs: list[Pair] = PAIRS, steps: Any = STEPS, policy: int = 0) -> tuple[torch.Tensor, bool]:
        backbone = open_backbone(model)
        backbone.load(REFERENCE, Artifact("r", "policy", policies[policy]))
        shown: list[str] = []
        context = make_context(tmp_path / "out", model, keep=True, reference=policies[policy])
        found = reference_logprobs(backbone, pairs, steps, showing(context, shown))
        return found, bool(shown)

    return worked


def showing(context: Context, shown: list[str]) -> Context:
    """The context with its progress displays listed."""

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
        shown.append(description)
        yield lambda steps: None

    return replace(context, progress=progress)


def test_second_call_reads_what_the_first_computed(work: Callable[..., tuple[torch.Tensor, bool]]) -> None:
    first, second = work(), work()
    assert (first[1], second[1]) == (True, False)
    assert first[0].shape == (5, 2) and bool((first[0] < 0).all())
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    "other",
    [
        {"policy": 1},
        {"steps": [[[0, 1, 2, 3]], [[4]]]},
        {"pairs": [*PAIRS[:4], Pair("4", [5, 6], [9, 2], [8, 2])]},
        {"pairs": [*PAIRS[1:], PAIRS[0]]},
    ],
    ids=["reference", "micro-batches", "pair", "order"],
)
def test_other_work_is_computed_anew(work: Callable[..., tuple[torch.Tensor, bool]], other: dict[str, Any]) -> None:
    work()
    assert work(**other)[1]
    assert not work(**other)[1] and not work()[1]


@pytest.mark.parametrize("harm", [lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\7"), Path.unlink])
def test_damaged_file_is_computed_anew(
    work: Callable[..., tuple[torch.Tensor, bool]], tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    first, _ = work()
    (kept,) = (tmp_path / "checkpoints").glob(f"reference-*/{FILE}")
    harm(kept)
    again, computed = work()
    assert computed and torch.equal(first, again)
    assert not work()[1]


def test_resumed_run_does_not_compute_the_reference_again_and_ends_with_the_same_bits(
    model: ModelConfig, policies: list[Path], rows: dict[str, Path], tmp_path: Path
) -> None:
    given = {"policy": policies[0], "reference": policies[1], "data": rows["comparisons"]}
    whole, parts, shown = Log(), Log(), [[], []]  # type: ignore[var-annotated]
    dpo.run(CONFIG, make_context(tmp_path / "whole/out", model, whole, **given))
    stopped = make_context(tmp_path / "parts/out", model, parts, keep=True, stop=10, **given)
    with pytest.raises(Interrupted):
        dpo.run(CONFIG, showing(stopped, shown[0]))
    dpo.run(CONFIG, showing(make_context(tmp_path / "parts/out", model, parts, keep=True, **given), shown[1]))
    assert ("reference log-probabilities" in shown[0], "reference log-probabilities" in shown[1]) == (True, False)
    assert parts.column("loss") == whole.column("loss")
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
