"""Whose speed is measured for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_run import full_model, make_context, titled

from pipeline.contract import Context, ModelConfig, Result
from stages import evaluate
from stages.evaluate.answers import Answers, heldout_questions
from stages.evaluate.asking.candidates import candidates
from stages.evaluate.asking.desk import Desk, load_policies, write_prompts
from stages.evaluate.asking.prompting import gather
from stages.evaluate.cost.costs import Costs, costs_of
from stages.evaluate.cost.speed import Speed
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.rollout.generate import Completion


def timed(context: Context, chat: Chat, config: evaluate.Config) -> tuple[Costs, list[tuple[str, int]]]:
    """The costs, and which role was timed on how long a prompt."""
    questions = heldout_questions(context.data["data"], chat, None, context.seed)
    compared, backbone = candidates(config, context), open_backbone(context.model)
    load_policies(backbone, compared)
    desk = Desk(config, context, backbone, chat, questions, gather(config, context, questions))
    one = Answers(
        [Completion([5], False)] * len(questions), ["a"] * len(questions), [9] * len(questions), [1] * len(questions)
    )
    asked: list[tuple[str, int]] = []

    def measure(backbone: Any, role: str, chat: Chat, prompts: list[list[int]], limit: int) -> Speed:
        with backbone.model(role):
            asked.append((role, max(map(len, prompts))))
        return Speed(float(len(asked)), 10.0)

    costs = costs_of(desk, compared, write_prompts(desk, compared), {c.name: one for c in compared}, measure=measure)
    return costs, asked


def config_for(*names: str) -> evaluate.Config:
    told = {"policies": list(names), "system": "be brief"}
    return evaluate.Config(candidates=names, baselines={"told": told}, data="rows", max_new_tokens=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_base", [True, False])
def test_lora_is_timed_as_the_base_and_once_for_each_way_of_asking(
    model: ModelConfig, chat: Chat, policies: list[Path], rows: dict[str, Path], tmp_path: Path, with_base: bool
) -> None:
    base = ["base"] if with_base else []
    context = make_context(tmp_path / "out", model, candidates=[*base, *policies], data=rows["prompts"])
    costs, asked = timed(context, chat, config_for(*base, "policy-1", "policy-2"))
    assert [role for role, _ in asked] == ["candidate_base" if with_base else "timed_base"] * 2
    assert asked[0][1] < asked[1][1], "the second way has a system turn"
    assert {costs.speeds[name].first_token for name in costs.speeds if "told" in name} == {2.0}
    assert {costs.speeds[name].first_token for name in costs.speeds if "told" not in name} == {1.0}


def test_whole_weights_are_timed_themselves(
    talker: ModelConfig, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    whole = Path(talker.model_name_or_path)
    context = make_context(tmp_path / "out", full_model(whole), candidates=[whole], data=rows["prompts"])
    _, asked = timed(context, chat, config_for(whole.name))
    assert {role for role, _ in asked} == {f"candidate_{whole.name}"}


def test_speeds_of_policies_that_are_asked_alike_are_one_measurement(
    model: ModelConfig, policies: list[Path], rows: dict[str, Path], tmp_path: Path
) -> None:
    context = make_context(tmp_path / "out", model, candidates=["base", *policies], data=rows["prompts"])
    result: Result = evaluate.run(config_for("base", "policy-1", "policy-2"), context)
    seconds = [row[3] for row in titled(result, "What a call costs").rows]
    assert len(seconds) == 6 and len(set(seconds[:3])) == len(set(seconds[3:])) == 1
