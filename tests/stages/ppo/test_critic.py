"""The linear critic: values from other prompts alone, as good as the data allow; and ppo with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Log, make_context, same_weights
from torch import Tensor

from pipeline.contract import ModelConfig
from pipeline.errors import Interrupted
from stages import ppo
from stages.ppo.critic import FOLDS, LinearCritic
from stages.rollout.score import normalised_scores_and_states

SMALL = {"data": "rows", "policy": "policy", "total_episodes": 16, "rollout_batch_size": 8, "num_ppo_epochs": 2,
         "num_mini_batches": 2, "max_new_tokens": 4, "eval_prompts": 2, "learning_rate": 1e-2,
         "value_model": "linear"}  # fmt: skip


@pytest.fixture
def inputs(policies: list[Path], reward: Path, rows: dict[str, Path]) -> dict[str, Any]:
    return {"policy": policies[0], "reference": policies[0], "reward": reward, "data": rows["prompts"]}


def batch(num_prompts: int, noise: float, seed: int = 0) -> tuple[list[list[int]], list[Tensor], list[Tensor]]:
    """Answers of 3 tokens whose return is 2 x0 - x1 + 5 of their states, and noise."""
    generator = torch.Generator().manual_seed(seed)
    states = [torch.randn(3, 6, generator=generator) for _ in range(num_prompts)]
    returns = [2 * s[:, 0] - s[:, 1] + 5 + noise * torch.randn(3, generator=generator) for s in states]
    return [[seed, i] for i in range(num_prompts)], states, returns


def explained(values_N: Tensor, returns: list[Tensor]) -> float:
    returns_N = torch.cat(returns)
    return float(1 - (returns_N - values_N).var() / returns_N.var())


def test_values_follow_what_other_prompts_teach() -> None:
    prompts, states, returns = batch(400, noise=0.5)
    assert explained(LinearCritic(6).values(prompts, states, returns), returns) > 0.9


def test_values_are_about_the_mean_when_states_say_nothing() -> None:
    prompts, states, _ = batch(60, noise=0)
    returns = [torch.full((3,), float(x)) for x in torch.randn(60, generator=torch.Generator().manual_seed(5))]
    values = LinearCritic(6).values(prompts, states, returns)
    assert float(values.std()) < 0.25
    assert abs(explained(values, returns)) < 0.1


def test_no_deviation_from_the_mean_depends_on_its_own_prompts_returns() -> None:
    """Not on those of the answer, and not on those of another answer to the prompt: the mean of 120 tokens rises."""
    prompts, states, returns = batch(40, noise=1)
    prompts[1] = prompts[0]
    before = LinearCritic(6).values(prompts, states, returns)
    returns[0] = returns[0] + 0.5
    after = LinearCritic(6).values(prompts, states, returns)
    changed = (after - before - 3 * 0.5 / 120).abs().view(40, 3).amax(1) > 1e-5
    assert not changed[:2].any()
    assert changed.sum() > 40 * (FOLDS - 2) / FOLDS


def test_fit_is_that_of_plain_ridge_regression() -> None:
    """Of the other folds' rows, centred, at the penalty that it chose."""
    from stages.formats.records import content_id

    prompts, states, returns = batch(40, noise=1)
    values = LinearCritic(6).values(prompts, states, returns).view(40, 3)
    folds = torch.tensor([int(content_id(prompt), 16) % FOLDS for prompt in prompts])
    own, others = torch.stack(states)[folds == 0], torch.stack(states)[folds != 0].flatten(0, 1).double()
    mean_state, mean_return = torch.cat(states).double().mean(0), torch.cat(returns).double().mean()
    target = torch.stack(returns)[folds != 0].flatten().double()
    centred = others - others.mean(0)
    fits = []
    covariance = centred.T @ centred / len(target)
    for penalty in (10.0**power * float(covariance.trace()) / 6 for power in range(-4, 6)):
        gram = covariance + penalty * torch.eye(6, dtype=torch.float64)
        weights = torch.linalg.solve(gram, centred.T @ (target - target.mean()) / len(target))
        fits.append((own.double() - mean_state) @ weights + mean_return)
    assert min(float((fit.float() - values[folds == 0]).abs().max()) for fit in fits) < 1e-5


def test_earlier_batches_count_less() -> None:
    critic = LinearCritic(6)
    for seed, level in enumerate((0.0, 1.0)):
        prompts, states, _ = batch(60, noise=0, seed=seed)
        values = critic.values(prompts, states, [torch.full((3,), level)] * 60)
    assert float(values.mean()) == pytest.approx(1 / 1.9, abs=0.05)


def test_states_come_with_the_scores_of_the_same_forward(ppo_models: Any) -> None:
    sequences, backbone, head = ppo_models
    scores_B, states = normalised_scores_and_states(backbone, "reward", head, sequences)
    for row, state_ND in enumerate(states):
        ids = sequences.prompts[row] + sequences.completions[row]
        with torch.no_grad(), backbone.model("reward") as plain:
            whole = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        start = len(sequences.prompts[row]) - 1
        torch.testing.assert_close(state_ND, whole[start:-1], atol=1e-5, rtol=1e-4)
        assert float(scores_B[row]) == pytest.approx(float(head(whole[-1])), abs=1e-5)


@pytest.fixture
def ppo_models(model: ModelConfig, reward: Path) -> Any:
    from pipeline.contract import Artifact
    from stages.modeling.backbone import open_backbone
    from stages.modeling.heads import ScalarHead
    from stages.rollout.sequences import Sequences

    backbone = open_backbone(model)
    backbone.load("reward", Artifact("rm", "reward", reward))
    rows = Sequences([[5, 6, 7], [8], [5, 6, 7]], [[9, 10], [11, 12, 13], [14]])
    return rows, backbone, ScalarHead.load(reward, 40)


@pytest.mark.parametrize("stop", [3, 5])
def test_run_with_a_linear_critic_resumes_to_the_same_bits(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    settings = ppo.Config(**SMALL)
    whole, parts = Log(), Log()
    ppo.run(settings, make_context(tmp_path / "whole/out", model, whole, **inputs))
    with pytest.raises(Interrupted):
        ppo.run(settings, make_context(tmp_path / "parts/out", model, parts, keep=True, stop=stop, **inputs))
    ppo.run(settings, make_context(tmp_path / "parts/out", model, parts, keep=True, **inputs))
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert parts.metrics == whole.metrics
    assert "value/explained_variance" in whole.metrics[0][1] and "loss/value_avg" not in whole.metrics[0][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_learning_rate": 1e-3}, "does not read value_learning_rate"),
        ({"value_warmup_epochs": 2}, "does not read value_warmup_epochs"),
        ({"reward": (), "reward_functions": {"f": {"function": "m:f"}}}, "use adapter"),
    ],
)
def test_settings_that_a_linear_critic_does_not_read_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ppo.Config(**{**SMALL, **changes})


@pytest.mark.parametrize("value_model", ["adapter", "linear"])
def test_resolved_settings_are_settings(value_model: str) -> None:
    """What the run folder keeps, every default written out, is read back by the worker."""
    config = ppo.Config(**{**SMALL, "value_model": value_model})
    assert ppo.Config(**config.model_dump(mode="json")) == config
    assert (config.value_coef, config.value_warmup_epochs) == ((0.1, 1) if value_model == "adapter" else (None, None))
