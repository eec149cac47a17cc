"""What a candidate is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_run import write_rows

from pipeline.contract import Context, DataSource, ModelConfig, Source, TaskConfig
from pipeline.errors import DataError
from stages.evaluate.answers import Question
from stages.evaluate.asking.prompting import Material, asked, gather
from stages.evaluate.config import Baseline, Config
from stages.formats import Document, Instruction, load


def u(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def a(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def s(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def question(*messages: dict[str, Any]) -> Question:
    return Question("q", messages, [1], None, TaskConfig())


EXAMPLES = [
    Instruction("1", (s("Be brief."), u("When does the library open?"), a("At ten."))),
    Instruction("2", (u("Where is the printer?"), a("Downstairs."))),
    Instruction("3", (u("Is the lift working?"), a("Yes."))),
    Instruction("4", (u("When does the café close?"), a("At six."))),
]
ASKED = question(u("When does the printer room open?"))


def shown(way: Baseline, of: Question = ASKED, **material: Any) -> list[tuple[str, str]]:
    made = Material([of], **{"examples": EXAMPLES, **material}).messages(of, way)
    return [(message["role"], message["content"]) for message in made]


def test_system_text_goes_above_the_questions_own() -> None:
    way = Baseline(system="You work in a library.")
    assert shown(way)[0] == ("system", "You work in a library.")
    own = question(s("Answer in JSON."), u("Hello"))
    assert shown(way, own) == [("system", "You work in a library.\n\nAnswer in JSON."), ("user", "Hello")]


def test_nearest_examples_are_turns_before_the_question_the_nearest_last() -> None:
    # "when does the ... open" shares most with the first, then with the last
    assert shown(Baseline(num_examples=2)) == [
        ("user", "When does the café close?"),
        ("assistant", "At six."),
        ("user", "When does the library open?"),
        ("assistant", "At ten."),
        ("user", "When does the printer room open?"),
    ]


def test_nearest_example_depends_on_the_question() -> None:
    way = Baseline(num_examples=1)
    assert shown(way, question(u("The lift: is it working again?")))[0] == ("user", "Is the lift working?")
    assert shown(way, question(u("A printer, where?")))[0] == ("user", "Where is the printer?")


def test_random_examples_are_the_same_for_all_and_follow_the_seed() -> None:
    way = Baseline(num_examples=2, pick="random")
    other = question(u("Is the lift working on Sunday?"))
    picks = {seed: shown(way, ASKED, seed=seed)[:-1] for seed in range(8)}
    assert all(shown(way, other, seed=seed)[:-1] == pick for seed, pick in picks.items())
    assert len({tuple(pick) for pick in picks.values()}) > 1


@pytest.mark.parametrize("pick", ["nearest", "random"])
def test_no_example_asks_what_a_question_asks(pick: Any) -> None:
    held = [question(u("when does the  LIBRARY open?")), question(s("Hi"), u("Is the lift working?"))]
    material = Material(held, EXAMPLES)
    for one in held:
        talk = material.messages(one, Baseline(num_examples=4, pick=pick))
        said = [m["content"] for m in talk[:-1] if m["role"] != "system"]
        assert sorted(said) == ["At six.", "Downstairs.", "When does the café close?", "Where is the printer?"]


def test_equal_examples_are_shown_once_and_tool_calls_never() -> None:
    calls = Instruction(
        "5", (u("Is room 4 free?"), a("") | {"tool_calls": [{}]}, {"role": "tool", "content": "yes"}, a("Yes."))
    )
    described = Instruction("6", (u("And room 5?"), a("Yes.")), [{"name": "find_room"}])
    again = Instruction("7", (u("Where is the Printer?"), a("Upstairs.")))
    material = Material([ASKED], [*EXAMPLES, calls, described, again])
    assert [example.id for example in material.examples] == ["1", "2", "3", "4"]


def test_passages_stand_before_the_question_the_best_first() -> None:
    documents = [
        Document("d1", "The printer is downstairs."),
        Document("d2", "The printer room opens at ten.", "Rooms"),
        Document("d3", "Bees."),
    ]
    assert shown(Baseline(num_passages=3), documents=documents) == [
        (
            "user",
            "Rooms\nThe printer room opens at ten.\n\nThe printer is downstairs.\n\nWhen does the printer room open?",
        )
    ]


def test_one_passage_is_laid_out_as_squad_trains_it(tmp_path: Path) -> None:
    row = {"context": "It opened in 1931.", "question": "When did it open?", "answers": {"text": ["1931"]}}
    source = Source("rows", DataSource(path=str(write_rows(tmp_path / "a.jsonl", [row]))))
    (trained,) = load(source, "instruction", "all").records
    made = shown(
        Baseline(num_passages=1), question(u("When did it open?")), documents=[Document("d", "It opened in 1931.")]
    )
    assert made == [("user", trained.messages[0]["content"])]


def test_passages_are_searched_by_the_last_user_turn_and_put_there() -> None:
    talk = question(u("Tell me of bees."), a("They fly."), u("And the printer?"))
    documents = [Document("d1", "Bees make honey."), Document("d2", "The printer is downstairs.")]
    assert shown(Baseline(num_passages=1), talk, documents=documents) == [
        ("user", "Tell me of bees."), ("assistant", "They fly."),
        ("user", "The printer is downstairs.\n\nAnd the printer?"),
    ]  # fmt: skip


def test_everything_at_once_keeps_its_order_and_the_question_unchanged() -> None:
    own = question(s("JSON."), u("Where is the printer room?"))
    documents = [Document("d", "The printer is downstairs.")]
    made = shown(Baseline(system="Hi.", num_examples=1, num_passages=1), own, documents=documents)
    assert [role for role, _ in made] == ["system", "user", "assistant", "user"]
    assert own.messages == (s("JSON."), u("Where is the printer room?"))


@pytest.fixture
def twenty(tmp_path: Path) -> Source:
    rows = [{"messages": [u(f"question {i}"), a(f"answer {i}")]} for i in range(20)]
    return Source("rows", DataSource(path=str(write_rows(tmp_path / "rows.jsonl", rows))), heldout_fraction=0.4)


@pytest.mark.parametrize("pick", ["nearest", "random"])
@pytest.mark.parametrize("split", [None, "all"])
def test_examples_are_never_of_the_heldout_side(tmp_path: Path, twenty: Source, pick: Any, split: Any) -> None:
    heldout = load(twenty, "prompt", "heldout").records
    questions = [Question(r.id, r.prompt, [1], r.reference, TaskConfig()) for r in heldout]
    examples = Source("rows", twenty.config.model_copy(update={"split": split}), heldout_fraction=0.4)
    way = Baseline(num_examples=20 - len(heldout), pick=pick)
    config = Config(candidates=("base",), data="rows", examples="rows", baselines={"shots": way})
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), data={"data": [twenty], "examples": [examples]})
    material = gather(config, context, questions)
    keys = {asked(one.messages) for one in questions}
    assert 0 < len(keys) < 20
    for one in questions:
        talk = material.messages(one, way)
        assert talk[-1] == dict(one.messages[-1]) and len(talk) == 2 * way.num_examples + 1
        assert not any(asked([turn]) in keys for turn in talk[:-1] if turn["role"] == "user")


def test_too_few_examples_are_an_error_with_the_count(tmp_path: Path, twenty: Source) -> None:
    config = Config(candidates=("base",), data="rows", examples="rows", baselines={"shots": Baseline(num_examples=30)})
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), data={"examples": [twenty]})
    with pytest.raises(DataError, match=r"num_examples is 30; of (\d+) rows for training \1 can be shown") as caught:
        gather(config, context, [])
    assert caught.value.where == "evaluate.baselines.shots"
