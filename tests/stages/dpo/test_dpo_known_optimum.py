"""dpo, from a file of rankings to published weights, on the four-armed bandit whose best policy is known.

r = (1, 0, 0, -1), reference (.4, .3, .2, .1), beta = .5. Every pair of arms is ranked so often that the shares of wins
are those of Bradley and Terry, and the best policy is the one that PPO would reach: reference * exp(r / beta).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_model as toy
from tiny_run import Log, full_model, write_rows
from transformers import AutoModelForCausalLM

from pipeline.contract import Context, DataSource, Source
from stages import dpo

ARMS = {"a": 1, "c": 0, "d": 0, "e": -1}  # with their rewards
REFERENCE, OPTIMUM = [0.4, 0.3, 0.2, 0.1], [0.85197162, 0.08647637, 0.05765091, 0.00390110]
ANSWERS = torch.tensor([[3, 2], [3, 4], [3, 5], [3, 6]])  # the prompt "b" and an arm
WINS = {0: (1, 2), 1: (19, 26), 2: (37, 42)}  # of so many: log(19 / 7) = 0.9985, log(37 / 5) = 2.0015


@torch.no_grad()
def bandit(folder: Path) -> Path:
    """The toy model with a head that, after the prompt, gives the arms their shares, and after an arm the end."""
    model: Any = AutoModelForCausalLM.from_pretrained(str(toy.publish(folder)), dtype=torch.float32)
    states = model.model(input_ids=ANSWERS).last_hidden_state
    known = torch.cat([states[:1, 0], states[:, 1]])
    wanted = torch.full((5, toy.VOCAB), 0.01)
    wanted[0, ANSWERS[:, 1]] = torch.tensor(REFERENCE)
    wanted[1:, toy.END] = 1.0
    head = model.lm_head.weight
    head += (torch.linalg.pinv(known) @ (wanted.log() - known @ head.T)).T
    model.save_pretrained(folder)
    return folder


def rankings(folder: Path) -> Path:
    rows = []
    for (better, high), (worse, low) in itertools.combinations(ARMS.items(), 2):
        wins, count = WINS[high - low]
        ranks = [[1, 2] if i < wins else [2, 1] for i in range(count)]
        given = [{"annotator": f"n{i}", "ranks": ranks[i]} for i in range(count)]
        rows.append({"prompt": [{"role": "user", "content": "b"}], "completions": [better, worse], "rankings": given})
    return write_rows(folder / "rankings.jsonl", rows)


@torch.no_grad()
def shares(folder: Path) -> list[float]:
    """Of the four answers, arm and end, among themselves."""
    model = toy.open_plain(folder)
    logp = model(input_ids=ANSWERS).logits.log_softmax(-1)
    return (logp[0, 0, ANSWERS[:, 1]] + logp[:, 1, toy.END]).softmax(0).tolist()  # type: ignore[no-any-return]


def test_dpo_reaches_the_bandits_optimum(tmp_path: Path) -> None:
    base, log = bandit(tmp_path / "model"), Log()
    assert shares(base) == pytest.approx(REFERENCE, abs=1e-4)
    data, model = rankings(tmp_path), full_model(base).model_copy(update={"attn_implementation": "sdpa"})
    settings = {"beta": 0.5, "max_steps": 80, "per_device_train_batch_size": 148, "gradient_accumulation_steps": 1,
                "learning_rate": 5e-3, "eval_prompts": 0}  # fmt: skip
    context = Context.local(tmp_path / "out", model=model, policy="base", reference="base", data=data)
    source = Source("rows", DataSource(path=str(data), split="all"))
    context = replace(context, data={"data": [source]}, say=log.said.append, log_metrics=log.log)
    dpo.run(dpo.Config(data="rows", policy="base", **settings), context)
    assert log.said[0].startswith("train: 148 pairs")
    assert shares(tmp_path / "out") == pytest.approx(OPTIMUM, abs=1e-3)
