"""What an answer is paid: ensembles, functions and checks, their sum, and functions that cannot work."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_run import Log, make_context, publish_scorer

from pipeline.contract import ModelConfig, TaskConfig
from pipeline.errors import RecipeError, StageFailed
from stages import ppo
from stages.evaluate.answers import Question
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.ppo.config import RewardFunction
from stages.ppo.rewards import Function, Rewards, load_functions, paid

SMALL = {"data": "rows", "policy": "policy", "total_episodes": 8, "rollout_batch_size": 8, "num_ppo_epochs": 1,
         "max_new_tokens": 4, "eval_prompts": 2, "value_warmup_epochs": 0}  # fmt: skip
LABELLED = TaskConfig(labels={"kind": ("a", "b")}, json_schema={"type": "object"})
QUESTION = Question("1", ({"role": "user", "content": "which?"},), [5, 6], {"kind": "a"}, LABELLED)


def config(**changes: Any) -> ppo.Config:
    return ppo.Config(**{**SMALL, **changes})


def function(call: Any, **settings: Any) -> Function:
    return Function("mine", call, RewardFunction(function="m:mine", **settings))


@pytest.fixture
def inputs(policies: list[Path], reward: Path, rows: dict[str, Path]) -> dict[str, Any]:
    return {"policy": policies[0], "reference": policies[0], "reward": reward, "data": rows["prompts"]}


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module of reward functions."""
    module = ModuleType("mine")
    monkeypatch.setitem(__import__("sys").modules, "mine", module)
    return module


@pytest.mark.parametrize(
    ("ensemble", "wanted"),
    [("mean", [2.0, 0.0]), ("min", [1.0, -3.0]), ("mean_less_variance", [2.0 - 0.5 * 1.0, 0.0 - 0.5 * 9.0])],
)
def test_ensemble_combines_its_members_scores(chat: Chat, ensemble: str, wanted: list[float]) -> None:
    settings = config(reward=("rm", "rm-2"), ensemble=ensemble, variance_coef=0.5)
    rewards = Rewards(chat, {"reward": ScalarHead(1), "reward_1": ScalarHead(1)}, [], {}, settings)
    parts = {"reward": torch.tensor([1.0, 3.0]), "reward_1": torch.tensor([3.0, -3.0])}
    assert rewards.total(parts).tolist() == wanted


def test_total_weighs_models_and_functions(chat: Chat) -> None:
    settings = config(reward_weight=0.5)
    rewards = Rewards(chat, {"reward": ScalarHead(1)}, [function(None, weight=-2.0)], {}, settings)
    parts = {"reward": torch.tensor([4.0]), "mine": torch.tensor([3.0])}
    assert rewards.total(parts).tolist() == [0.5 * 4.0 - 2.0 * 3.0]


def test_function_gets_prompts_completions_and_references_by_name() -> None:
    seen: dict[str, Any] = {}

    def pay(**given: Any) -> list[float]:
        seen.update(given)
        return [1.5, 2]

    assert paid(function(pay), [QUESTION, QUESTION], ["x", "y"]).tolist() == [1.5, 2.0]
    assert seen["completions"] == ["x", "y"]
    assert seen["prompts"][0] == [{"role": "user", "content": "which?"}]
    assert seen["references"] == [{"kind": "a"}] * 2


def test_check_of_the_task_pays_zero_or_one() -> None:
    check = Function("right", None, RewardFunction(function="label_accuracy"))
    given = ['{"kind": "a"}', '{"kind": "b"}', "no json"]
    assert paid(check, [QUESTION] * 3, given).tolist() == [1.0, 0.0, 0.0]


def test_number_at_the_end_is_compared_as_a_number() -> None:
    task = TaskConfig(checks=("number",))
    question = Question("1", QUESTION.messages, [5], "9 * 2 = 18\n#### 1,018", task)
    check = Function("right", None, RewardFunction(function="number_right"))
    given = ["so it is 1018.0", "1,018 euros", "$1,017", "18", "none", "first 1018, then 3"]
    assert paid(check, [question] * 6, given).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def slow(**given: Any) -> list[float]:
    time.sleep(5)
    return [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda **given: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda completions: [0.0], "raised TypeError"),
        (lambda **given: exit(3), "raised SystemExit: 3"),
        (lambda **given: [float("nan")], "gave nan for the answer 'x'"),
        (lambda **given: [float("inf")], "gave inf"),
        (lambda **given: [1.0, 2.0], "gave 2 numbers for 1 answers"),
        (lambda **given: ["good"], "not a sequence of numbers"),
        (lambda **given: None, "gave None"),
        (slow, "took more than 0.1 s for 1 answers"),
    ],
)
def test_function_that_cannot_work_is_told_of(call: Any, message: str) -> None:
    with pytest.raises(StageFailed, match=message):
        paid(function(call, timeout=0.1), [QUESTION], ["x"])


@pytest.mark.parametrize("broken", ["raises", "not_a_number", "slow"])
def test_broken_function_ends_the_run_before_training(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, mine: ModuleType, broken: str
) -> None:
    mine.raises = lambda **given: given["nothing"]  # type: ignore[attr-defined]
    mine.not_a_number = lambda completions, **given: [float("nan") for _ in completions]  # type: ignore[attr-defined]
    mine.slow = slow  # type: ignore[attr-defined]
    log = Log()
    functions = {"mine": {"function": f"mine:{broken}", "timeout": 0.1}}
    with pytest.raises(StageFailed, match=f"the reward function 'mine:{broken}'") as told:
        ppo.run(config(reward_functions=functions), make_context(tmp_path / "out", model, log, **inputs))
    assert told.value.where == "reward_functions.mine"
    assert log.metrics == []


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nowhere:f", "cannot be loaded"),
        ("json:nothing", "cannot be loaded"),
        ("valid_json", "have no check"),
    ],
)
def test_function_that_is_not_there_is_refused(named: str, message: str) -> None:
    question = Question("1", QUESTION.messages, [5], None, TaskConfig())
    with pytest.raises(RecipeError, match=message):
        load_functions(config(reward_functions={"mine": {"function": named}}), [question])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": ()}, "nothing pays for an answer"),
        ({"ensemble": "min", "reward": "rm"}, "needs several reward models"),
        ({"reward_functions": {"reward": {"function": "m:f"}}}, "cannot be called reward"),
        ({"ptx_coef": 0.1}, "go together"),
        ({"max_new_tokens": 0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_pay_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_function_alone_is_raised_without_a_reward_model(
    loud: ModelConfig, inputs: dict[str, Any], tmp_path: Path, mine: ModuleType
) -> None:
    """It pays for a first character in the first half of the alphabet of all characters."""
    mine.early = lambda completions, **given: [float(text[:1] < "P") for text in completions]  # type: ignore[attr-defined]
    log = Log()
    settings = {"reward": (), "reward_functions": {"early": {"function": "mine:early"}}, "total_episodes": 10 * 128,
                "rollout_batch_size": 128, "per_device_train_batch_size": 128, "max_new_tokens": 1, "num_ppo_epochs": 2,
                "kl_coef": 0.01, "missing_eos_penalty": 0, "learning_rate": 1e-2}  # fmt: skip
    given = {**inputs, "policy": "base", "reference": "base"}
    del given["reward"]
    context = make_context(tmp_path / "out", loud, log, **given)
    context.inputs = {**context.inputs, "reward": []}
    ppo.run(config(**settings), context)
    scores = log.column("objective/scores")
    assert sum(scores[-2:]) / 2 > sum(scores[:2]) / 2 + 0.15


def test_sources_are_logged_and_reported_apart(
    model: ModelConfig, chat: Chat, inputs: dict[str, Any], tmp_path: Path, mine: ModuleType
) -> None:
    mine.length = lambda completions, **given: [float(len(text)) for text in completions]  # type: ignore[attr-defined]
    given = {**inputs, "reward": [inputs["reward"], publish_scorer(model, chat, tmp_path / "rm-2", seed=9)]}
    settings = {"reward": ("rm", "rm-2"), "reward_functions": {"length": {"function": "mine:length", "weight": 0.1}}}
    log = Log()
    result = ppo.run(config(**settings), make_context(tmp_path / "out", model, log, **given))
    (_, figures), *_ = log.metrics
    members = [figures["reward/reward"], figures["reward/reward_1"]]
    assert members[0] != members[1]
    expected = sum(members) / 2 + 0.1 * figures["reward/length"]
    assert figures["objective/scores"] == pytest.approx(expected, abs=1e-5)
    assert {"heldout/reward_length", "heldout/proxy_score"} <= result.metrics.keys()


def test_reward_model_of_another_tokenizer_is_refused(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    import json
    import shutil

    other = tmp_path / "rm"
    shutil.copytree(inputs["reward"], other)
    info = json.loads((other / "posttune.json").read_text())
    assert len(info["tokenizer"]) == 16
    (other / "posttune.json").write_text(json.dumps({**info, "tokenizer": "another"}))
    log = Log()
    with pytest.raises(Exception, match="trained with another tokenizer"):
        ppo.run(config(), make_context(tmp_path / "out", model, log, **{**inputs, "reward": other}))
    assert log.metrics == []


def test_ptx_keeps_given_answers_likely(
    model: ModelConfig, inputs: dict[str, Any], rows: dict[str, Path], tmp_path: Path
) -> None:
    losses = {}
    settings = {"total_episodes": 48, "learning_rate": 1e-2, "ptx_data": "kept"}
    for coef in (1e-9, 1.0):
        log = Log()
        context = make_context(tmp_path / f"{coef}/out", model, log, **inputs)
        source = make_context(tmp_path / "x", model, data=rows["instructions"]).data["data"]
        context.data = {**context.data, "ptx_data": source}
        ppo.run(config(**settings, ptx_coef=coef), context)
        losses[coef] = log.column("loss/ptx_avg")
    assert losses[1.0][0] == pytest.approx(losses[1e-9][0])  # before anything is learnt
    assert losses[1.0][-1] < losses[1.0][0] - 0.1
    assert losses[1e-9][-1] > losses[1.0][-1] + 0.1
