"""ppo on the tiny model: exact ratios and gradients, a planted reward, and a stop in the middle of an iteration."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Log, full_model, lora_model, make_context, publish_scorer, same_weights, weights, write_rows
from torch import Tensor

from pipeline.contract import Artifact, ModelConfig, Result
from pipeline.errors import DataError, Interrupted, ModelError, StageFailed
from stages import ppo, rm
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.ppo import alarms
from stages.ppo.config import rates
from stages.ppo.experience import POLICY, REFERENCE, REWARD, VALUE, Models, choose_prompts, collect
from stages.ppo.rewards import Rewards
from stages.ppo.update import Updater

PROMPTS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14], [15, 16], [17], [18, 19, 20], [21]]
SMALL = {"data": "rows", "policy": "policy", "total_episodes": 16, "rollout_batch_size": 8, "num_ppo_epochs": 2,
         "num_mini_batches": 2, "per_device_train_batch_size": 2, "max_new_tokens": 4, "eval_prompts": 0,
         "learning_rate": 1e-2, "value_warmup_epochs": 0}  # fmt: skip


def config(**changes: Any) -> ppo.Config:
    return ppo.Config(**{**SMALL, **changes})


def run(output: Path, model: ModelConfig, inputs: dict[str, Any], log: Log | None = None, *, keep: bool = False,
        stop: int = 0, **changes: Any) -> Result:  # fmt: skip
    return ppo.run(config(**changes), make_context(output, model, log, keep=keep, stop=stop, **inputs))


@pytest.fixture
def inputs(policies: list[Path], reward: Path, rows: dict[str, Path]) -> dict[str, Any]:
    return {"policy": policies[0], "reference": policies[0], "reward": reward, "data": rows["prompts"]}


@pytest.fixture
def models(model: ModelConfig, chat: Chat, policies: list[Path], reward: Path) -> Models:
    backbone = open_backbone(model)
    backbone.load(POLICY, Artifact("p", "policy", policies[0]), trainable=True)
    backbone.load(REFERENCE, Artifact("r", "policy", policies[1]))
    backbone.load(REWARD, Artifact("rm", "reward", reward))
    backbone.copy(VALUE, REWARD, trainable=True)
    heads = [ScalarHead.load(reward, 40) for _ in range(2)]
    rewards = Rewards(chat, {REWARD: heads[0].requires_grad_(False)}, [], {}, config())
    return Models(backbone, chat, rewards, heads[1])


def with_settings(models: Models, settings: ppo.Config) -> Models:
    """The same models, paid by other settings."""
    return replace(models, rewards=replace(models.rewards, config=settings))


def gradients(models: Models, updater: Updater, experience: Any, cut: list[list[int]]) -> Tensor:
    """Of every policy and value weight, as the optimizer would see them."""
    seen: list[Tensor] = []
    parameters = [*updater.policy.values(), *updater.value.values()]
    updater._apply = lambda usable: seen.extend(p.grad.clone().flatten() for p in parameters)  # type: ignore[method-assign, union-attr]
    for parameter in parameters:
        parameter.grad = None
    updater.step(experience, cut)
    return torch.cat(seen)


def test_first_ratio_is_one_when_nothing_has_been_trained(models: Models) -> None:
    experience = collect(models, PROMPTS, config(temperature=0.7), 0.05, 17, 0)
    updater = Updater(models, config(temperature=0.7), (1e-3, 1e-3))
    found = updater.step(experience, experience.micro_batches)
    assert found["policy/ratio_deviation"] < 1e-4
    assert found["policy/clipfrac_avg"] == 0
    assert found["loss/policy_avg"] == pytest.approx(0, abs=1e-5)  # minus the mean of standardised advantages
    assert found["val/ratio"] == pytest.approx(1, abs=1e-4)
    assert updater.step(experience, experience.micro_batches)["policy/ratio_deviation"] > 1e-4


@pytest.mark.parametrize("cut", [[[0, 1], [2, 3], [4, 5], [6, 7]], [[3], [0, 1, 2, 4, 5, 6, 7]]])
def test_gradient_is_the_same_however_a_minibatch_is_cut(models: Models, cut: list[list[int]]) -> None:
    settings = config(max_grad_norm=1e9)
    experience = collect(models, PROMPTS, settings, 0.05, 17, 0)
    updater = Updater(models, settings, (1e-3, 1e-3))
    updater.step(experience, experience.micro_batches)  # so that the ratios are not one
    whole = gradients(models, updater, experience, [list(range(8))])
    torch.testing.assert_close(gradients(models, updater, experience, cut), whole, atol=1e-6, rtol=1e-3)
    assert whole.abs().max() > 1e-4


def test_policy_and_value_gradients_are_clipped_apart(models: Models) -> None:
    settings = config(max_grad_norm=1e-3)
    experience = collect(models, PROMPTS, settings, 0.05, 17, 0)
    updater = Updater(models, settings, (1e-3, 1e-3))
    both = gradients(models, updater, experience, experience.micro_batches)
    size = sum(p.numel() for p in updater.policy.values())
    assert float(both[:size].norm()) == pytest.approx(1e-3, rel=1e-2)
    assert float(both[size:].norm()) == pytest.approx(1e-3, rel=1e-2)


def test_reference_and_reward_are_untouched_while_the_policy_learns(models: Models) -> None:
    frozen = {role: [p.clone() for p in models.backbone.parameters(role).values()] for role in (REFERENCE, REWARD)}
    moving = {role: [p.clone() for p in models.backbone.parameters(role).values()] for role in (POLICY, VALUE)}
    head = models.rewards.heads[REWARD].weight.clone()
    experience = collect(models, PROMPTS, config(), 0.05, 17, 0)
    updater = Updater(models, config(), (1e-2, 1e-2))
    for _ in range(3):
        updater.step(experience, experience.micro_batches)
    for role, before in frozen.items():
        assert all(map(torch.equal, before, models.backbone.parameters(role).values()))
    for role, before in moving.items():
        assert not any(map(torch.equal, before, models.backbone.parameters(role).values()))
    assert torch.equal(head, models.rewards.heads[REWARD].weight)
    assert not torch.equal(head, models.value_head.weight)


def test_value_starts_as_the_normalised_score(models: Models) -> None:
    for head in (models.rewards.heads[REWARD], models.value_head):
        head.mean.fill_(0.3)
        head.std.fill_(0.5)
    settings = config(max_new_tokens=2, score_clip=100)
    experience = collect(with_settings(models, settings), [[5, 6, 7]], settings, 0.05, 17, 0)
    row = experience.prompts[0] + experience.completions[0]
    before_last = collect_score(models, row[:-1])
    assert float(experience.values_BR[0, 1]) == pytest.approx(before_last, abs=1e-5)
    assert float(experience.scores_B[0]) == pytest.approx(collect_score(models, row), abs=1e-5)


@torch.no_grad()
def collect_score(models: Models, row: list[int]) -> float:
    with models.backbone.model(REWARD) as plain:
        state = plain(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0, -1]
    return float(
        (state @ models.rewards.heads[REWARD].weight - models.rewards.heads[REWARD].mean)
        / models.rewards.heads[REWARD].std
    )


def test_rewards_are_the_score_less_the_kl_and_the_missing_end(models: Models) -> None:
    """gamma = lambda = 1: the return of the first token is the sum of all rewards of the answer."""
    settings = config(gae_lambda=1.0, missing_eos_penalty=0.7)
    experience = collect(models, PROMPTS, settings, 0.25, 17, 0)
    assert 0 in experience.ended_B.tolist()
    expected = experience.scores_B - 0.7 * (1 - experience.ended_B) - 0.25 * experience.kl_BR.sum(1)
    torch.testing.assert_close(experience.returns_BR[:, 0], expected, atol=1e-5, rtol=0)


def test_ended_answer_pays_no_penalty_and_keeps_its_end_token(models: Models, chat: Chat) -> None:
    stopping = replace_stops(chat, set(range(3, 384, 2)))  # half of the vocabulary ends an answer
    experience = collect(replace(models, chat=stopping), PROMPTS * 4, config(gae_lambda=1.0), 0.0, 17, 0)
    ended = experience.ended_B.bool()
    assert 0 < int(ended.sum()) < 32
    expected = experience.scores_B - (~ended).float()
    torch.testing.assert_close(experience.returns_BR[:, 0], expected, atol=1e-5, rtol=0)
    for completion, over in zip(experience.completions, ended.tolist(), strict=True):
        assert (completion[-1] in stopping.stop_ids) == over
        assert not set(completion[:-1]) & stopping.stop_ids
    assert (experience.advantages_BR[~experience.sequences.mask_BR] == 0).all()


def replace_stops(chat: Chat, stops: set[int]) -> Chat:
    changed = object.__new__(Chat)
    changed.__dict__ |= {**chat.__dict__, "stop_ids": frozenset(stops)}
    return changed


def test_scores_are_clipped(models: Models) -> None:
    models.rewards.heads[REWARD].std.fill_(1e-4)
    settings = config(score_clip=2.0)
    scores = collect(with_settings(models, settings), PROMPTS, settings, 0.05, 17, 0).scores_B
    assert set(scores.abs().tolist()) == {2.0}


def test_kl_is_zero_when_the_policy_is_its_reference(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = Log()
    run(tmp_path / "out", model, inputs, log, total_episodes=8)
    # The one's log-probabilities come from the decode loop, the other's from the scorer: products of other shapes.
    assert abs(log.metrics[0][1]["objective/kl"]) < 1e-6
    assert log.metrics[0][1]["policy/ratio_deviation"] < 1e-4


def test_planted_reward_is_raised(loud: ModelConfig, loud_reward: Path, inputs: dict[str, Any], tmp_path: Path) -> None:
    """The reward likes last tokens that lie along one direction; the scores' own deviation is about 1."""
    log = Log()
    given = {**inputs, "policy": "base", "reference": "base", "reward": loud_reward}
    settings = {"total_episodes": 15 * 128, "rollout_batch_size": 128, "max_new_tokens": 1, "num_mini_batches": 1,
                "per_device_train_batch_size": 128, "kl_coef": 0.01, "eval_prompts": 4}  # fmt: skip
    result = run(tmp_path / "out", loud, given, log, **settings)
    scores = log.column("objective/scores")
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.4
    assert 0.5 < log.column("objective/kl")[-1] < 6
    assert result.metrics["heldout/kl"] > 0.1


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("stop", [2, 4, 7])  # calls: a batch of the rollout, then 4 minibatches an iteration
def test_stopped_and_resumed_run_ends_with_the_same_bits(
    tiny_model: Path, inputs: dict[str, Any], tmp_path: Path, tuning: str, stop: int
) -> None:
    model = lora_model(tiny_model)
    if tuning == "full":
        model, inputs = full_model(tiny_model), full_inputs(tiny_model, inputs, tmp_path)
    whole, parts = Log(), Log()
    expected = run(tmp_path / "whole/out", model, inputs, whole, eval_prompts=2)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", model, inputs, parts, keep=True, stop=stop, eval_prompts=2)
    found = run(tmp_path / "parts/out", model, inputs, parts, keep=True, eval_prompts=2)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert (parts.metrics, found.metrics) == (whole.metrics, expected.metrics)
    assert [step for step, _ in whole.metrics] == [1, 2]


def test_run_logs_no_iteration_twice_when_every_checkpoint_is_damaged(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = Log()
    run(tmp_path / "out", model, inputs, log, keep=True)
    for file in tmp_path.glob("checkpoints/*/state.pt"):
        file.write_bytes(b"")
    run(tmp_path / "out", model, inputs, log, keep=True)
    assert [step for step, _ in log.metrics] == [1, 2]


def full_inputs(tiny_model: Path, inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The base as policy, and a reward model of whole weights."""
    rows = [{"prompt": [{"role": "user", "content": f"question {i}"}], "completions": ["a", "b"], "ranks": [1, 2]}
            for i in range(6)]  # fmt: skip
    data = write_rows(folder / "pairs.jsonl", rows)
    context = make_context(folder / "rm", full_model(tiny_model), policy="base", data=data)
    rm.run(rm.Config(data="rows", max_steps=1, normalize_prompts=0), context)
    return {**inputs, "policy": "base", "reference": "base", "reward": folder / "rm"}


def test_killed_run_goes_on_from_its_last_checkpoint(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    whole, parts = Log(), Log()
    run(tmp_path / "whole/out", model, inputs, whole, total_episodes=24)
    context = make_context(tmp_path / "parts/out", model, parts, keep=True, **inputs)

    class Killed(Exception):
        pass

    def die(step: int, metrics: Any) -> None:
        parts.log(step, metrics)
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        ppo.run(config(total_episodes=24), replace(context, log_metrics=die))
    run(tmp_path / "parts/out", model, inputs, parts, keep=True, total_episodes=24)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert parts.metrics == whole.metrics


def test_size_of_a_forward_does_not_change_the_first_iteration(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    results = []
    for size in (1, 8):
        log = Log()
        run(tmp_path / f"{size}/out", model, inputs, log, total_episodes=8, num_mini_batches=1, num_ppo_epochs=1,
            per_device_train_batch_size=size)  # fmt: skip
        results.append(log.metrics[0][1])
    for name in ("objective/scores", "objective/entropy", "loss/value_avg", "policy/grad_norm", "value/grad_norm"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-3)


def test_optimizer_steps_are_epochs_times_minibatches(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    steps: list[int] = []
    original = Updater.step
    monkeypatch.setattr(Updater, "step", lambda self, *given: steps.append(1) or original(self, *given))
    run(tmp_path / "out", model, inputs, num_ppo_epochs=3, num_mini_batches=4, total_episodes=8)
    assert len(steps) == 12


def test_batch_is_left_early_when_the_policy_has_moved_too_far(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = Updater.step
    monkeypatch.setattr(Updater, "step", lambda self, *given: steps.append(1) or original(self, *given))
    run(tmp_path / "out", model, inputs, total_episodes=8, num_ppo_epochs=4, num_mini_batches=1, target_kl=1e-7)
    assert len(steps) == 2


@pytest.mark.parametrize("size", [3, 7, 10])
def test_every_prompt_is_chosen_once_a_pass(size: int) -> None:
    settings = config(rollout_batch_size=size, num_mini_batches=1)
    chosen = [tuple(p) for i in range(-(-24 // size)) for p in choose_prompts(PROMPTS, settings, 17, i)]
    for start in (0, 8, 16):
        assert Counter(chosen[start : start + 8]) == Counter(map(tuple, PROMPTS))
    assert chosen[:8] != chosen[8:16]


def test_rates_are_the_configs_or_the_usual(model: ModelConfig, tiny_model: Path) -> None:
    assert rates(config(learning_rate=None), model) == pytest.approx((3e-5, 9e-5))
    assert rates(config(learning_rate=None), full_model(tiny_model)) == pytest.approx((3e-6, 9e-6))
    assert rates(config(learning_rate=1e-3, value_learning_rate=2e-3), model) == pytest.approx((1e-3, 2e-3))


def test_lora_dropout_is_refused(tiny_model: Path, inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs lora\.dropout 0"):
        run(tmp_path / "out", lora_model(tiny_model, dropout=0.1), inputs)


def test_prompts_that_never_fit_are_refused(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fits into max_prompt_length 3"):
        run(tmp_path / "out", model, inputs, max_prompt_length=3)


def test_run_gives_up_when_three_steps_in_a_row_are_not_finite(models: Models) -> None:
    experience = collect(models, PROMPTS, config(), 0.05, 17, 0)
    experience.advantages_BR.fill_(float("nan"))
    updater = Updater(models, config(), (1e-2, 1e-2))
    before = {name: p.clone() for name, p in updater.policy.items()}
    for _ in range(2):
        updater.step(experience, experience.micro_batches)
    assert updater.num_skipped == 2
    assert all(torch.equal(p, before[name]) for name, p in updater.policy.items())
    with pytest.raises(StageFailed, match="not finite 3 times"):
        updater.step(experience, experience.micro_batches)


def test_output_holds_the_policy_alone(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    run(tmp_path / "out", model, inputs, total_episodes=8)
    assert not (tmp_path / "out/head.safetensors").exists()
    assert weights(tmp_path / "out").keys() == weights(inputs["policy"]).keys()
    assert not same_weights(tmp_path / "out", inputs["policy"])


COMMON = {name: value for name, value in SMALL.items() if name != "value_warmup_epochs"}


@pytest.mark.parametrize("kind", [ppo.RlooConfig, ppo.GrpoConfig])
def test_answers_are_held_against_the_others_to_their_prompt(models: Models, kind: type[ppo.Config]) -> None:
    settings = kind(**COMMON)
    prompts = choose_prompts(PROMPTS, settings, 17, 0)
    assert [prompts.count(prompt) for prompt in prompts] == [4] * 8
    experience = collect(replace(models, value_head=None), prompts, settings, 0.5, 17, 0)
    scores = (experience.scores_B - (1 - experience.ended_B)).view(2, 4)
    penalties = 0.5 * experience.kl_BR.sum(1).view(2, 4)

    def less_the_others(values: Tensor) -> Tensor:
        return torch.stack([values[:, i] - values[:, [j for j in range(4) if j != i]].mean(1) for i in range(4)], 1)

    standard = (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + 1e-4)
    own = less_the_others(scores) if kind is ppo.RlooConfig else standard
    expected = (own - less_the_others(penalties)).view(8, 1) * experience.sequences.mask_BR
    torch.testing.assert_close(experience.advantages_BR, expected, atol=1e-5, rtol=1e-5)
    assert not experience.values_BR.any()


def test_grpo_tells_no_answers_apart_by_their_kl_when_they_score_alike(models: Models) -> None:
    models.rewards.heads[REWARD].weight.data.zero_()
    settings = ppo.GrpoConfig(**COMMON, missing_eos_penalty=0)
    prompts = choose_prompts(PROMPTS, settings, 17, 0)
    experience = collect(replace(models, value_head=None), prompts, settings, 1e-3, 17, 0)
    assert 0 < experience.advantages_BR.abs().max() < 0.05


@pytest.mark.parametrize("kind", [ppo.RlooConfig, ppo.GrpoConfig])
def test_run_without_a_value_model_learns_and_resumes(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, kind: type[ppo.Config]
) -> None:
    settings = kind(**COMMON)
    whole = Log()
    ppo.run(settings, make_context(tmp_path / "whole/out", model, whole, **inputs))
    with pytest.raises(Interrupted):
        ppo.run(settings, make_context(tmp_path / "parts/out", model, Log(), keep=True, stop=4, **inputs))
    ppo.run(settings, make_context(tmp_path / "parts/out", model, Log(), keep=True, **inputs))
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert not same_weights(tmp_path / "whole/out", inputs["policy"])
    assert "loss/value_avg" not in whole.metrics[0][1] and "value/explained_variance" not in whole.metrics[0][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples_per_prompt": 3}, "must divide into prompts"),
        ({"kl_target": 6.0, "kl_horizon": 1}, "kl_horizon 1 must be above"),
        ({"kl_target": 6.0, "kl_coef": 0}, "would stay 0"),
        ({"num_mini_batches": 3}, "equal parts"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(("asked", "minibatches", "size"), [(8, 1, 8), (3, 2, 2), (8, 4, 2), (5, 1, 4)])
def test_forwards_divide_a_minibatch_into_equal_parts(asked: int, minibatches: int, size: int) -> None:
    assert config(per_device_train_batch_size=asked, num_mini_batches=minibatches).micro_batch_size == size


def test_kl_coefficient_is_steered_towards_its_target_and_survives_a_resume(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"total_episodes": 24, "kl_target": 1e-3, "kl_horizon": 20, "kl_coef": 0.1, "learning_rate": 3e-2}
    whole, parts = Log(), Log()
    run(tmp_path / "whole/out", model, inputs, whole, **settings)
    coefs, kls = whole.column("kl_coef"), whole.column("objective/kl")
    assert coefs[0] == 0.1
    for i in (0, 1):
        error = min(max(kls[i] / 1e-3 - 1, -0.2), 0.2)
        assert coefs[i + 1] == pytest.approx(coefs[i] * (1 + error * 8 / 20))
    assert coefs[2] != coefs[1]
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", model, inputs, parts, keep=True, stop=10, **settings)
    run(tmp_path / "parts/out", model, inputs, parts, keep=True, **settings)
    assert parts.metrics == whole.metrics


def test_second_reward_model_is_watched_and_changes_nothing(
    model: ModelConfig, chat: Chat, inputs: dict[str, Any], tmp_path: Path
) -> None:
    other = publish_scorer(model, chat, tmp_path / "check", seed=9)
    plain, watched = Log(), Log()
    run(tmp_path / "plain/out", model, inputs, plain)
    run(tmp_path / "watched/out", model, {**inputs, "check_reward": other}, watched)
    assert same_weights(tmp_path / "plain/out", tmp_path / "watched/out")
    assert watched.column("objective/scores") == plain.column("objective/scores")
    assert "objective/check_scores" not in plain.metrics[0][1]

    swapped = Log()  # the same rollout, scored the other way round, before anything is learnt
    run(tmp_path / "swapped/out", model, {**inputs, "reward": other, "check_reward": inputs["reward"]}, swapped)
    assert swapped.column("objective/scores")[0] == pytest.approx(watched.column("objective/check_scores")[0], abs=1e-5)
    assert abs(watched.column("objective/scores")[0] - watched.column("objective/check_scores")[0]) > 1e-3


def test_dual_clip_caps_the_loss_of_bad_answers(models: Models) -> None:
    experience = collect(models, PROMPTS, config(), 0.05, 17, 0)
    far = replace(experience, old_logprobs_BR=experience.old_logprobs_BR - 5 * experience.sequences.mask_BR)
    losses = [
        Updater(models, config(dual_clip=bound), (0.0, 0.0)).step(far, far.micro_batches)["loss/policy_avg"]
        for bound in (None, 3.0)
    ]
    assert losses[1] < losses[0] / 10


def test_alarm_is_said_and_reported(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "ALARMS", {"always": lambda history: f"seen {len(history)} -> nothing to do"})
    log = Log()
    result = run(tmp_path / "out", model, inputs, log)
    assert [line for line in log.said if "alarm" in line] == ["alarm at iteration 1: seen 1 -> nothing to do"]
    reward, own = result.fragments[0].rows  # type: ignore[union-attr]
    assert own == ["always", "iteration 1: seen 1 -> nothing to do"]
    assert reward[0] == "reward" and "no held-out figures" in reward[1]  # it was made by hand


def test_warm_up_mends_the_value_model_and_leaves_the_policy_alone(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    cold, warm = Log(), Log()
    settings = {"total_episodes": 8, "learning_rate": 1e-9, "value_learning_rate": 1e-2}
    run(tmp_path / "cold/out", model, inputs, cold, **settings)
    run(tmp_path / "warm/out", model, inputs, warm, value_warmup_epochs=8, **settings)
    before, after = (log.column("value/explained_variance")[0] for log in (cold, warm))
    assert after > before + 0.1
    assert warm.column("objective/scores") == cold.column("objective/scores")


def test_run_stopped_in_the_warm_up_ends_with_the_same_bits(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"value_warmup_epochs": 2, "total_episodes": 16}  # the second batch's values need the fitted scale
    run(tmp_path / "whole/out", model, inputs, **settings)
    for stop in (4, 7):  # a call in the rollout, 4 in the warm-up, 4 in the minibatches
        with pytest.raises(Interrupted):
            run(tmp_path / "parts/out", model, inputs, keep=True, stop=stop, **settings)
    run(tmp_path / "parts/out", model, inputs, keep=True, **settings)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")


def test_seed_of_its_own_changes_the_run_and_the_recipes_seed_does_not(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    one, same, other = Log(), Log(), Log()
    run(tmp_path / "one/out", model, inputs, one, seed=5, total_episodes=8)
    context = replace(make_context(tmp_path / "same/out", model, same, **inputs), seed=99)
    ppo.run(config(seed=5, total_episodes=8), context)
    run(tmp_path / "other/out", model, inputs, other, seed=6, total_episodes=8)
    assert same.metrics == one.metrics
    assert other.metrics != one.metrics
