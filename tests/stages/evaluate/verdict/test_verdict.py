"""What the verdict names, and when it names nothing. Figures are made up so that every number can be checked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pipeline.contract import Table, Verdict
from stages.evaluate.cost.calls import CallCost
from stages.evaluate.verdict.cautions import cautions
from stages.evaluate.verdict.contest import Contender, hold
from stages.evaluate.verdict.primary import choose_primary
from stages.evaluate.verdict.verdict import no_verdict, verdict

BASE, SFT, PPO = Contender("base", False, True), Contender("sft", True, True), Contender("ppo", True, True)
FEW = Contender("base + few_shot", False, False)
SERVER = Contender("server", False, False, is_same_model=False)
N = 80


def decide(figures, contenders, primary=None, **more):
    """The verdict on the figure that is chosen."""
    return verdict(hold(figures, contenders, choose_primary(figures, primary)), contenders, figures, **more)


def first_right(count: int) -> list[float]:
    """Right on the first so many of N questions."""
    return [1.0] * count + [0.0] * (N - count)


def told(contenders, rights, **more) -> tuple[list[str], Table]:
    """The verdict on so many right answers each."""
    figures = {
        c.name: {"label_accuracy": first_right(right), "length": [10.0] * N}
        for c, right in zip(contenders, rights, strict=True)
    }
    first, table = decide(figures, contenders, **more)
    assert isinstance(first, Verdict) and isinstance(table, Table)
    return list(first.sentences), table


def test_winner_is_named_with_its_difference_when_it_is_told_apart_from_everything():
    (best, worth, use), table = told([BASE, SFT, FEW], [20, 70, 40])
    assert best.startswith("On label_accuracy, sft does best: 0.875 [0.785, 0.931] against 0.25 of base, 0.625 [")
    assert "may be as good" not in best
    assert worth.startswith("Tuning is worth it: sft is better than all 2 untuned ways of asking")
    assert "the best of them, base + few_shot, by 0.375 [" in worth
    assert use == "Use sft."
    assert [row[-1] for row in table.rows] == ["", "better than base; better than base + few_shot", "better than base"]


def test_p_values_are_mcnemars_with_holms_correction():
    _, table = told([BASE, SFT, FEW], [40, 47, 44])
    by_name = {row[0]: row for row in table.rows}
    raw = [
        stats.binomtest(0, different).pvalue for different in (7, 4, 3)
    ]  # sft - base, few-shot - base, sft - few-shot
    expected = [f"{p:.2g}" for p in multipletests(raw, method="holm")[1]]
    assert [by_name["sft"][3], by_name["base + few_shot"][3], by_name["sft"][5]] == expected


def test_nothing_is_named_when_the_interval_holds_zero_and_the_needed_prompts_are_told():
    (best, worth, use), table = told([BASE, SFT], [40, 43])
    # d is 1 on 3 of 80: (1.95996 sqrt(0.0375) + 0.84162 sqrt(0.0375 - 0.00140625))^2 / 0.00140625 = 207.9
    assert "nothing can be told apart from base for the better on 80 prompts: the best, sft, differs by 0.0375" in best
    assert "about 210 prompts would be needed" in best
    assert worth.startswith("Whether tuning is worth it cannot be told: sft differs from base by 0.0375 [")
    assert "base is the safe choice" in use
    # 2.80159 * sqrt(0.03609375) / sqrt(80) = 0.0595
    assert table.rows[1][-1] == "cannot be told apart from base: about 210 prompts would be needed, these show 0.06"


def test_tuning_is_not_worth_it_when_a_prompt_does_better():
    (best, worth, use), _ = told([BASE, SFT, FEW], [20, 40, 70])
    assert "base + few_shot does best" in best
    assert worth.startswith("Tuning is not worth it: sft, the best tuned, is worse than base + few_shot")
    assert use == "Use base + few_shot, which needs no training."


def test_tuned_model_must_beat_every_untuned_way_not_the_best_alone():
    """Told apart from the best way on many questions, but not from one that was only asked a few."""
    figures = {"base": {"f1": [0.0] * N}, "sft": {"f1": [0.9, 1.0] * 40}, "base + few_shot": {"f1": [0.8, 0.9] * 40},
               "base + retrieval": {"f1": [0.5, 1.0, 0.4, *[None] * (N - 3)]}}  # fmt: skip
    first, _ = decide(figures, [BASE, SFT, FEW, Contender("base + retrieval", False, False)])
    assert first.sentences[1].startswith("Whether tuning is worth it cannot be told: sft differs from base + retrieval")


def test_candidates_that_may_be_as_good_are_listed():
    (best, *_), _ = told([BASE, SFT, PPO, FEW], [20, 70, 69, 30])
    assert "sft does best" in best and best.endswith("on 80 prompts; ppo may be as good.")


def test_worse_candidates_are_told_when_nothing_beats_the_first():
    (best, worth, use), _ = told([BASE, SFT, PPO], [60, 20, 59])
    assert best == f"On label_accuracy, nothing beats base, which has {0.75:.3g} [0.645, 0.832]; sft is worse."
    assert worth.startswith("Whether tuning is worth it cannot be told: ppo differs from base by -0.0125")
    assert use.startswith("Until more prompts tell, base is the safe choice")


def test_what_was_not_asked_is_said():
    (_, worth, use), _ = told([BASE, FEW], [20, 60])
    assert worth == "Whether tuning is worth it is not asked: no tuned model is among the candidates."
    assert use == "Use base + few_shot."
    (_, worth, use), _ = told([SFT, PPO], [20, 30])
    assert "add base to the candidates" in worth and use == "Use ppo."
    (_, worth, _), _ = told([BASE, SFT], [20, 60])
    assert worth.endswith("; no better prompt, examples or retrieval was tried.")
    (best, *_), _ = told([BASE], [20])
    assert best.endswith("there is nothing to compare it with.")


def test_verdict_is_the_same_when_the_first_candidate_is_the_tuned_one():
    (_, worth, use), table = told([SFT, BASE, FEW], [70, 20, 40])
    assert worth.startswith("Tuning is worth it: sft is better than all 2") and use == "Use sft."
    assert str(table.rows[1][2]).startswith("-0.625 [") and table.rows[1][-1].startswith("worse than sft")


def test_endpoint_neither_stands_for_untuned_nor_goes_unmentioned():
    (_, worth, use), _ = told([BASE, SFT, SERVER], [20, 60, 79])
    assert worth.startswith("Tuning is worth it: sft is better than base by")
    assert use == "Use sft; of other models, server has 0.988 against its 0.75."


def test_costs_length_and_warnings_are_told():
    figures = {"base": {"exact": first_right(20), "length": [10.0] * N}, "sft": {"exact": first_right(60),
               "length": [25.0] * N}}  # fmt: skip
    costs = {"base": CallCost(90, 10, price=0.5), "sft": CallCost(30, 25, price=0.3)}
    first, _ = decide(
        figures, [BASE, SFT], costs=costs, training_costs={"sft": 2.0}, warnings=["sft has forgotten general."]
    )
    _, worth, use, warning = first.sentences
    assert "a call costs 55 tokens with sft and 100 with base" in worth
    assert worth.endswith("and training pays for itself by cheaper calls after 10,000 of them.")
    assert use.startswith("Use sft; its answers are 2.5 times as long as base's; but first read what tuning broke")
    assert warning == "sft has forgotten general."


def test_cheaper_training_that_may_do_as_well_is_named():
    (_, _, use), _ = told([BASE, SFT, PPO], [20, 69, 70], training_costs={"sft": 1.0, "ppo": 3.0})
    assert use == "Use ppo; sft may serve as well, and costs less to train."
    (_, _, use), _ = told([BASE, SFT, PPO], [20, 69, 70], training_costs={"sft": 3.0, "ppo": 1.0})
    assert use == "Use ppo."


def test_nobody_is_advised_where_nobody_is_right_even_once():
    (_, _, use), _ = told([BASE, SFT, FEW], [0, 0, 0])
    assert use == "Use none of them yet: nobody has any label_accuracy."


def test_note_says_how_many_prompts_have_the_figure_and_speaks_of_needed_ones_where_there_are_any():
    figures = {name: {"exact": [*first_right(right), None, None]} for name, right in (("base", 0), ("sft", 70))}
    _, table = decide(figures, [BASE, SFT])
    assert f"which {N} of {N + 2} prompts can have" in table.note and "Prompts needed" not in table.note
    _, table = told([BASE, SFT], [40, 42])
    assert "prompts can have" not in table.note and "Prompts needed" in table.note


@pytest.mark.parametrize(("tuned", "named"), [(["sft"], ""), (["sft", "ppo"], "ppo"), ([], "base, ppo")])
def test_answers_that_were_cut_off_are_cautioned_of(tuned, named):
    figures = {
        "base": {"ended": [0.0] * 3 + [1.0]},
        "sft": {"ended": [1.0, 1.0, 0.0, 0.0]},
        "ppo": {"ended": [0.0] * 4},
    }
    said = cautions(figures, tuned, [], 16)
    assert said == (
        [
            f"Most answers of {named} were cut off at 16 tokens and judged as they stood: raise max_new_tokens before "
            "you believe the figures."
        ]
        if named
        else []
    )


def test_lower_perplexity_is_better():
    figures = {"base": {"perplexity": [9.0, 8.0] * 40}, "sft": {"perplexity": [4.0, 5.0] * 40}}
    first, table = decide(figures, [BASE, SFT], "perplexity")
    assert "sft does best" in first.sentences[0] and " less on 80 prompts" in first.sentences[0]
    assert table.rows[1][-1] == "better than base"


def test_win_rate_is_held_against_a_half():
    figures = {"base": {"length": [1.0] * N}, "sft": {"win rate under the LLM judge": first_right(70)}}
    first, table = decide(figures, [BASE, SFT])
    assert "sft does best: 0.875" in first.sentences[0] and "against 0.5 of base" in first.sentences[0]
    assert str(table.rows[1][2]).startswith("0.375 [")


def test_proxy_is_called_one():
    figures = {name: {"proxy score": np.random.default_rng(0).normal(size=N).tolist()} for name in ("base", "ppo")}
    assert "proxy score (a proxy: what PPO optimised)" in decide(figures, [BASE, PPO])[0].sentences[0]


def test_candidate_without_the_figure_stays_in_the_table():
    figures = {"base": {"f1": [0.1] * N}, "sft": {"f1": [0.2] * N}, "server": {"f1": [None] * N}}
    _, table = decide(figures, [BASE, SFT, SERVER])
    assert table.rows[2] == ["server", None, None, None, "no such figure"]


def test_verdict_stands_alone_when_no_figure_tells_better_from_worse():
    only = no_verdict(None, ["sft has forgotten general."])
    assert "No figure says which answer is better" in only.sentences[0]
    assert only.sentences[1:] == ["sft has forgotten general."]
    assert (
        "Nobody has the figure that decides, 'win rate under the LLM judge'"
        in (no_verdict("win rate under the LLM judge").sentences[0])
    )


def test_least_difference_is_not_told_where_all_questions_differ_alike():
    figures = {"base": {"f1": [0.1]}, "sft": {"f1": [0.3]}}
    _, table = decide(figures, [BASE, SFT])
    assert table.rows[1][-1] == "cannot be told apart from base: about 4 prompts would be needed"


@pytest.mark.parametrize(
    "contenders",
    [
        [BASE, *(Contender(f"tuned-{i}", True, True) for i in range(5))],
        [BASE, *(Contender(f"base + {i}", False, False) for i in range(2)), SFT, PPO, SERVER],
    ],
    ids=["five tuned", "baselines too"],
)
def test_no_winner_is_named_under_the_null(contenders):
    """1,000 evaluations of equally good candidates: at most 5%, and three standard errors of 0.0069, name one."""
    generator, named = np.random.default_rng(0), 0
    for _ in range(1000):
        chance_N = generator.beta(1, 1, N)
        figures = {c.name: {"exact": (generator.random(N) < chance_N).astype(float).tolist()} for c in contenders}
        contest = hold(figures, contenders, "exact")
        named += any(found.is_told for found in contest.tested.values())
    assert named / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_named_winner_is_in_the_sentences_exactly_when_it_is_told():
    generator = np.random.default_rng(1)
    for _ in range(100):
        figures = {c.name: {"exact": (generator.random(N) < 0.6 + 0.2 * c.is_tuned).astype(float).tolist()}
                   for c in (BASE, SFT)}  # fmt: skip
        first, _ = decide(figures, [BASE, SFT])
        contest = hold(figures, [BASE, SFT], "exact")
        says = [
            "does best" in first.sentences[0],
            "Tuning is worth it" in first.sentences[1],
            "Use sft" in first.sentences[2],
        ]
        assert says == [contest.is_better("sft", "base")] * 3
