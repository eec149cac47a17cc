"""How much of what answers still earn a value model explains, in batches it has not learnt from: a critic's ceiling.

.venv/bin/python bench/values.py --recipe recipes/quickstart.yaml

Reads a finished sft and rm of that recipe (`make sft rm`). The sft policy, which stays as it is, answers --batches
batches of prompts; then each critic meets them in turn, values a batch before it learns from it, and is judged by that
(`explained_variance` of the lambda returns; the first batch, which a warm-up has seen, is left out). `ridge` is
no critic but a bound: a regression on the reward model's states of all answers at once, crossed over prompts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from checkpoints import ROOT, asked

LEARNING_RATES = (1e-4, 3e-4)
WARM_UPS = (0, 1, 4)
PENALTIES = tuple(10.0**power for power in range(-2, 5))
FOLDS = 5


def main() -> int:
    """Collect, let each critic learn, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "quickstart.yaml")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--batches", type=int, default=12, help="of 16 answers, two to a prompt (12)")
    options = parser.parse_args()
    if options.batches < 3:
        parser.error("--batches must be at least 3")

    from stages.modeling.chat import load_chat
    from stages.ppo.experience import choose_prompts, collect
    from stages.ppo.train import _load, _questions

    _, context = asked(options)
    config = _config()
    chat = load_chat(context.model)
    questions = _questions(config, context, chat)
    models = _load(config, context, chat, questions)
    batches, states = [], []
    for number in range(options.batches):
        chosen = choose_prompts([question.ids for question in questions], config, 1, number)
        batches.append(collect(models, chosen, config, config.kl_coef, 1, number))
        states.append(models.rewards.parts_and_states(models.backbone, batches[-1].sequences)[1])
        print(f"batch {number + 1} of {options.batches}", flush=True)
    answers = sum(len(batch.completions) for batch in batches)
    print(f"ridge on all {answers} answers: {_ridge(batches, states):.3f}")
    _show("linear critic", _linear(config, batches, states))
    for rate in LEARNING_RATES:
        for warm_up in WARM_UPS:
            _show(f"adapter, rate {rate:g}, warm-up {warm_up}", _adapter(config, models, batches, rate, warm_up))
    return 0


def _config() -> Any:
    from stages import ppo

    return ppo.Config(
        policy="sft", data="rows", rollout_batch_size=16, num_samples_per_prompt=2, num_ppo_epochs=2,
        max_new_tokens=64, total_episodes=192, learning_rate=1e-4, kl_coef=0.15,
    )  # fmt: skip


def _show(name: str, explained: list[float]) -> None:
    later = explained[1:]
    spread = statistics.stdev(later) / len(later) ** 0.5
    above = sum(value > 0 for value in later)
    mean = f"mean {statistics.mean(later):+.3f} (standard error {spread:.3f})"
    print(f"{name}: {mean}, above 0 in {above} of {len(later)}", flush=True)


def _explained(config: Any, batch: Any, values_BR: Any) -> float:
    from stages.objectives.advantages import gae
    from stages.objectives.value import explained_variance

    mask_BR = batch.sequences.mask_BR
    returns_BR = gae(batch.rewards_BR, values_BR * mask_BR, mask_BR, config.gamma, config.gae_lambda)[1]
    return float(explained_variance(values_BR * mask_BR, returns_BR, mask_BR))


def _linear(config: Any, batches: list[Any], states: list[Any]) -> list[float]:
    from stages.ppo.critic import LinearCritic
    from stages.ppo.experience import _from_states

    critic = LinearCritic(states[0][0].shape[-1])
    found = []
    for batch, own in zip(batches, states, strict=True):
        values_BR = _from_states(critic, batch.sequences, own, batch.rewards_BR, config.gamma)
        found.append(_explained(config, batch, values_BR))
    return found


def _adapter(config: Any, models: Any, batches: list[Any], rate: float, warm_up: int) -> list[float]:
    """As ppo does: the scale fitted to the first batch, a warm-up on it, then two clipped epochs on each."""
    import torch

    from stages.ppo.experience import VALUE, rescale_values, revalued
    from stages.ppo.update import Totals, Updater

    learnt = {**models.backbone.parameters(VALUE), "head": models.value_head.weight}
    kept = {**learnt, **dict(models.value_head.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in kept.items()}
    updater = Updater(models, config, (config.learning_rate, rate))
    found = []
    for number, batch in enumerate(batches):
        updater.set_progress(number / len(batches))
        valued = revalued(models, batch, config)
        if number == 0:
            rescale_values(models, valued, config)
            valued = revalued(models, batch, config)
            for _ in range(warm_up):
                updater.value_step(config, valued, valued.micro_batches)
            valued = revalued(models, batch, config)
        found.append(_explained(config, batch, valued.values_BR))
        for _ in range(config.num_ppo_epochs):
            totals = Totals(int(valued.sequences.mask_BR.sum()))
            for part in valued.micro_batches:
                updater._value_gradient(config, valued, part, totals, config.clip_range_value)
            torch.nn.utils.clip_grad_norm_(list(updater.value.values()), config.max_grad_norm)
            updater._apply(True)
    with torch.no_grad():
        for name, tensor in kept.items():
            tensor.copy_(before[name])
    return found


def _ridge(batches: list[Any], states: list[Any]) -> float:
    """The best over PENALTIES of 1 - error / variance, each fold of the prompts predicted from the others."""
    import torch

    from stages.ppo.experience import _earned

    rows, targets, folds = [], [], []
    prompts: dict[tuple[int, ...], int] = {}
    for batch, own in zip(batches, states, strict=True):
        earned_BR = _earned(batch.rewards_BR, batch.sequences.mask_BR, 1.0)
        for prompt, state_ND, earned_R in zip(batch.prompts, own, earned_BR, strict=True):
            rows.append(state_ND.double())
            targets.append(earned_R[: len(state_ND)].double())
            folds += [prompts.setdefault(tuple(prompt), len(prompts)) % FOLDS] * len(state_ND)
    x_ND, y_N, fold_N = torch.cat(rows), torch.cat(targets), torch.tensor(folds)
    found = []
    for penalty in PENALTIES:
        predicted_N = torch.zeros_like(y_N)
        for fold in range(FOLDS):
            seen = fold_N != fold
            mean_D, mean = x_ND[seen].mean(0), y_N[seen].mean()
            centred_ND = x_ND[seen] - mean_D
            square_DD = centred_ND.T @ centred_ND / len(centred_ND)
            square_DD += penalty * square_DD.diag().mean() * torch.eye(len(square_DD), dtype=torch.float64)
            weight_D = torch.linalg.solve(square_DD, centred_ND.T @ (y_N[seen] - mean) / len(centred_ND))
            predicted_N[~seen] = (x_ND[~seen] - mean_D) @ weight_D + mean
        found.append(float(1 - (y_N - predicted_N).var() / y_N.var()))
    return max(found)


if __name__ == "__main__":
    sys.exit(main())
