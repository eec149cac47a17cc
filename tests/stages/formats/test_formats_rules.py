"""Every rule of a row: the field, the finding and a remedy."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import DataError
from stages.formats import FORMATS

LONG = "x" * 100_001
OPEN = "\n\nHuman: Hi\n\nAssistant:"
ASK, SAY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}


def talk(*messages):
    return "messages", {"messages": list(messages)}


def ranks(values, completions=("a", "b", "c"), **more):
    return "ranked", {"prompt": "Hi", "completions": list(completions), "ranks": values} | more


def weighed(weight):
    return ranks(None, rankings=[{"annotator": "ann", "ranks": [1, 2, 3], "weight": weight}])


def error_of(name, row):
    with pytest.raises(DataError) as caught:
        FORMATS[name].convert(row)
    return caught.value


@pytest.mark.parametrize("case, where, problem", [
    (talk(ASK | {"role": "bot"}, SAY), "messages[0].role", "unknown role 'bot'"),
    (talk(ASK | {"content": 42}, SAY), "messages[0].content", "is the number 42; text is allowed"),
    (talk(ASK, SAY | {"content": None}), "messages[1].content", "is null; text is allowed"),
    (talk(ASK, {"role": "assistant"}), "messages[1].content", "missing; the object has role"),
    (talk(ASK, SAY | {"content": " \n"}), "messages[1].content", "is empty or white space"),
    (talk(ASK | {"content": ""}, SAY), "messages[0].content", "is empty or white space"),
    (talk(ASK, SAY | {"content": LONG}), "messages[1].content", "has 100,001 characters; at most 100,000 are allowed"),
    (talk(ASK, SAY | {"content": "a\x00"}), "messages[1].content", "has a NUL character at position 1"),
    (talk(ASK, SAY | {"content": "\ud800"}), "messages[1].content", "has half of a surrogate pair at position 0"),
    (talk(ASK, SAY | {"content": [{"type": "image_url"}]}), "messages[1].content[0]", "a part of type 'image_url'"),
    (talk(ASK, SAY | {"tool_calls": [{"x": 1}]}), "messages[1].tool_calls", "is no call of a function"),
    (talk({"role": "system", "content": "Be kind."}, SAY), "messages", "no user turn"),
    (talk(ASK, ASK, SAY), "messages[1]", "two user turns in a row"),
    (talk(ASK, SAY, {"role": "system", "content": "!"}, SAY), "messages[3]", "two assistant turns in a row"),
    (talk(ASK), "messages", "the last turn is the user's"),
    (talk("Hi"), "messages[0]", "is text; an object with role and content is allowed"),
    (talk(), "messages", "is an empty list"),
    (("messages", {"messages": "Hi"}), "messages", "is text; a list is allowed"),
    (("messages", {"messages": ASK}), "messages", "is an object; a list is allowed"),
    (("messages", {"message": [ASK, SAY]}), "messages", "missing; the row has message"),
    (("alpaca", {"instruction": "Hi", "output": ""}), "output", "is empty or white space"),
    (("alpaca", {"instruction": "Hi", "output": "Yo", "history": [["Hm"]]}), "history[0]", "is no pair"),
    (("prompt_completion", {"prompt": "", "completion": "Yo"}), "prompt", "is empty or white space"),
    (("text", {"text": " "}), "text", "is empty or white space"),
    (("kto", {"prompt": "Hi", "completion": "Yo", "desirable": 1}), "desirable", "is the number 1"),
    (("prompts", {"messages": [ASK, SAY]}), "prompt", "the last turn is the assistant's"),
    (("prompts", {"prompt": "Hi", "instruction_id_list": ["a", ""]}), "instruction_id_list[1]", "is empty or white"),
    (("prompts", {"prompt": "Hi", "instruction_id_list": ["a"], "kwargs": []}), "kwargs", "0 for 1 instructions"),
    (("prompts", {"prompt": "Hi", "instruction_id_list": ["a"], "kwargs": [1]}), "kwargs[0]", "is the number 1"),
])  # fmt: skip
def test_conversation_is_refused_when_it_breaks_a_rule(case, where, problem):
    error = error_of(*case)
    assert (error.where, error.problem[: len(problem)]) == (where, problem)
    assert error.remedy


@pytest.mark.parametrize("case, where, problem", [
    (ranks([1], ["a"]), "completions", "1 completion; a comparison needs at least 2"),
    (ranks([1, 2, 3], ["a", "", "c"]), "completions[1]", "is empty or white space"),
    (ranks([1, 2, 3], ["a", 7, "c"]), "completions[1]", "is the number 7; text is allowed"),
    (ranks([1, 2]), "ranks", "2 values for 3 completions"),
    (ranks([0, 1, 2]), "ranks[0]", "rank 0 is out of range; 1 (best) to 3 are allowed"),
    (ranks([1, 2, 99]), "ranks[2]", "rank 99 is out of range"),
    (ranks([1, 2, "3"]), "ranks[2]", "is text; a number or null is allowed"),
    (ranks([1, 2, True]), "ranks[2]", "is the boolean true; a number or null is allowed"),
    (ranks([1, 2, float("nan")]), "ranks[2]", "is the number nan"),
    (ranks(None, scores=[1, 2, float("inf")]), "scores[2]", "is the number inf"),
    (ranks([1, 2, 10**400]), "ranks[2]", "rank 1000"),
    (ranks([None, None, None]), "ranks", "all null"),
    (ranks([1, 2, 3], ["a", "b", "a"]), "ranks", "completions 1 and 3 are the same text with ranks 1 and 3"),
    (weighed(-1), "rankings[0].weight", "is the number -1; a number from 0 is allowed"),
    (weighed("2"), "rankings[0].weight", "is text; a number from 0 is allowed"),
    (weighed(True), "rankings[0].weight", "is the boolean true"),
    (weighed(float("inf")), "rankings[0].weight", "is the number inf"),
    (ranks([1, 2, 3], scores=[-3, 0, 3]), "ranks", "completion 1 has a better rank and a lower score"),
    (ranks([1, 2, 3], penalties=[3, 0, -3]), "ranks", "completion 1 has a better rank and a higher penalty"),
    (ranks(None, scores=[3, 2, 1], penalties=[3, 2, 1]), "scores", "completion 1 has a higher score and a higher"),
    (ranks(None, penalties={"ann": [1, 2]}), "penalties.ann", "2 values for 3 completions"),
    (ranks(None, penalties={"ann": [1, 2, "x"]}), "penalties.ann[2]", "is text; a number or null is allowed"),
    (ranks(None, penalties={}), "rankings", "no ranking; at least one annotator's is needed"),
    (ranks(None, penalties="{1"), "penalties", "is not JSON"),
    (ranks([1, 2, 3], prompt=[ASK, SAY]), "prompt", "the last turn is the assistant's"),
    (ranks([1, 2, 3], annotator=" "), "annotator", "is text; a name is allowed"),
    (ranks(None, scores=None), "scores", "is null; a list is allowed"),
    (ranks(None, rankings=[]), "rankings", "no ranking; at least one annotator's is needed"),
    (ranks(None, rankings=[{"annotator": "a", "ranks": [1, 2, 9]}]), "rankings[0].ranks[2]", "rank 9 is out of range"),
    (ranks(None, rankings=[{"ranks": [1, 2, 3]}]), "rankings[0].annotator", "missing"),
    (("pairs", {"prompt": "Hi", "chosen": "a", "rejected": "a"}), "chosen", "is the same text as rejected"),
    (("pairs", {"prompt": "Hi", "chosen": "a"}), "rejected", "missing"),
    (("pairs", {"prompt": "Hi", "chosen": ["a"], "rejected": "b"}), "chosen", "is a list; text is allowed"),
    (("pairs", {"chosen": [ASK, SAY], "rejected": [ASK | {"content": "Hm"}, SAY]}), "chosen", "the turns before"),
    (("pairs", {"prompt": "Hm", "chosen": [ASK, SAY], "rejected": [ASK, SAY]}), "prompt", "is not in the conversation"),
    (("hh", {"chosen": OPEN, "rejected": OPEN + " b"}), "chosen", "is empty or white space"),
    (("hh", {"chosen": "\n\nHuman: Hi", "rejected": "\n\nHuman: Hi"}), "chosen", "ends with the human's turn"),
    (("nectar", {"prompt": "Hi", "answers": [{"answer": "a"}]}), "answers[0].rank", "missing"),
    (("nectar", {"prompt": "Hi", "answers": [{"answer": "a", "rank": 0}, {"answer": "b", "rank": 1}]}), "rank[0]",
     "rank 0 is out of range"),
])  # fmt: skip
def test_comparison_is_refused_when_it_breaks_a_rule(case, where, problem):
    error = error_of(*case)
    assert (error.where, error.problem[: len(problem)]) == (where, problem)
    assert error.remedy


@pytest.mark.parametrize("given, kept", [
    ([1, 2, 3], (1, 2, 3)), ([2, 2, 2], (1, 1, 1)), ([3, 1, 3], (2, 1, 2)), ([None, 3, 1], (None, 2, 1)),
    ([1.5, 1.5, 3.0], (1, 1, 2)),
])  # fmt: skip
def test_ranks_are_kept_dense_with_one_best_when_given_as_ranks(given, kept):
    assert FORMATS["ranked"].convert(ranks(given)[1]).rankings[0].ranks == kept


def test_highest_score_gets_rank_one_when_given_as_scores():
    row = {"prompt": "Hi", "completions": ["a", "b", "c", "d"], "scores": [-7, 2.5, 2.5, None]}
    assert FORMATS["ranked"].convert(row).rankings[0].ranks == (2, 1, 1, None)


@pytest.mark.parametrize("column, kept", [("scores", (3, 2, 1)), ("penalties", (1, 2, 3))])
def test_direction_is_the_column_s_when_each_annotator_has_numbers(column, kept):
    given = {"ann": [0, 1, 2.5], "ben": [None, 7, 7]}
    for value in (given, json.dumps(given)):
        ann, ben = FORMATS["ranked"].convert(ranks(None)[1] | {column: value}).rankings
        assert (ann.annotator, ann.ranks, ben.ranks) == ("ann", kept, (None, 1, 1))


def test_equal_texts_share_a_rank_when_an_annotator_gave_them_different_numbers():
    row = ranks(None, "aba", penalties={"ann": [0, 1, 4]})[1]  # a: 2, b: 1
    assert FORMATS["ranked"].convert(row).rankings[0].ranks == (2, 1, 2)


def test_every_ranked_turn_of_a_tree_is_a_comparison_when_it_has_two_ranks():
    def node(role, text, *replies, **more):
        return {"role": role, "text": text, "replies": list(replies)} | more

    def reply(text, rank, *replies):
        return node("assistant", text, *replies, rank=rank)

    deeper = node("prompter", "Why?", reply("c", None), reply("d", 1), reply("e", 0))
    alone = node("prompter", "How?", reply("f", 0))
    tree = {"prompt": node("prompter", "Hi", reply("a", 1, alone), reply("b", 0, deeper))}
    top, below = FORMATS["oasst"].convert(tree)
    assert (top.completions, top.rankings[0].ranks) == (("a", "b"), (2, 1))
    assert (below.completions, below.rankings[0].ranks) == (("c", "d", "e"), (None, 2, 1))
    assert [message["content"] for message in below.prompt] == ["Hi", "b", "Why?"]


@pytest.mark.parametrize("name, row, where, problem", [
    ("oasst", {"prompt": {"role": "prompter", "text": "Hi", "replies": []}}, "prompt", "no turn of the tree has two"),
    ("oasst", {"prompt": {"role": "bot", "text": "Hi"}}, "prompt.role", "unknown role 'bot'"),
    ("oasst", {"prompt": {"role": "prompter", "text": "Hi", "replies": [7]}}, "prompt.replies[0]", "is the number 7"),
    ("squad", {"paragraphs": []}, "paragraphs", "no question in it"),
    ("squad", {"context": "A.", "question": "Q?", "answers": {"text": []}}, "answers", "no answer is given"),
    ("squad", {"paragraphs": [{"context": "A.", "qas": [{"question": ""}]}]}, "paragraphs[0].qas[0].question", "is"),
    ("squad", {"context": "A.", "question": "Q?", "answers": {"text": ["a", ""]}}, "answers.text[1]", "is empty"),
    ("squad", {"context": "A.", "question": "Q?", "answers": [{"text": "a"}, {"text": 1}]}, "answers[1].text", "is"),
    ("self_instruct", {"instruction": "Hi", "instances": []}, "instances", "is an empty list"),
    ("self_instruct", {"instruction": "Hi", "instances": [{"input": ""}]}, "instances[0].output", "missing"),
    ("answers", {"prompt": "Hi", "answers": []}, "answers", "is an empty list"),
    ("answers", {"prompt": "Hi", "answers": ["a", ""]}, "answers[1]", "is empty or white space"),
    ("question_answer", {"question": "Hi", "answer": None}, "answer", "is null; text is allowed"),
    ("labelled", {"text": "Hi", "label": ["a"]}, "label", "is a list; one label"),
    ("labelled", {"text": "Hi", "label": True}, "label", "is the boolean true; one label"),
    ("extraction", {"text": "Hi", "slots": "{"}, "slots", "is not JSON"),
    ("extraction", {"text": "Hi", "slots": [1]}, "slots", "is a list; an object is allowed"),
])  # fmt: skip
def test_row_of_several_records_or_labels_is_refused_when_it_breaks_a_rule(name, row, where, problem):
    error = error_of(name, row)
    assert (error.where, error.problem[: len(problem)]) == (where, problem)
    assert error.remedy


def test_lowest_rank_is_best_when_the_row_is_nectar():
    row = {"prompt": "Hi", "answers": [{"answer": "poor", "rank": 2}, {"answer": "good", "rank": 1}]}
    assert FORMATS["nectar"].convert(row).rankings[0].ranks == (2, 1)


def test_chosen_gets_rank_one_when_rows_are_pairs():
    record = FORMATS["pairs"].convert({"prompt": "Hi", "chosen": "good", "rejected": "poor", "annotator": "ann"})
    assert (record.completions, record.rankings[0].annotator, record.rankings[0].ranks) == (
        ("good", "poor"),
        "ann",
        (1, 2),
    )


def test_typed_parts_are_joined_when_content_is_a_list():
    call = {"type": "tool_call", "value": '{"name": "find", "arguments": {"day": 3}}'}
    parts = [
        {"type": "reasoning", "value": "hm"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "value": "look."},
        call,
    ]
    (_, said) = FORMATS["messages"].convert(talk(ASK, {"role": "assistant", "content": parts})[1]).messages
    calls = [{"type": "function", "function": {"name": "find", "arguments": {"day": 3}}}]
    assert said == {"role": "assistant", "content": "Let me look.", "reasoning_content": "hm", "tool_calls": calls}


def test_tool_use_is_accepted_when_an_answer_calls_and_reads_a_tool():
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"day": 3}'}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    answered = {"role": "tool", "content": "free", "tool_call_id": "1"}
    record = FORMATS["messages"].convert(talk(ASK, asked, answered, SAY)[1] | {"tools": [{"name": "find"}]})
    assert record.messages[1]["content"] == "" and record.messages[2] == answered
    assert record.messages[1]["tool_calls"][0]["function"]["arguments"] == {"day": 3}
    assert record.tools == [{"type": "function", "function": {"name": "find"}}]


def test_prompt_is_read_as_turns_when_it_is_an_open_transcript():
    row = {"prompt": "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Bye\n\nAssistant:", "chosen": "a", "rejected": "b"}
    assert FORMATS["pairs"].convert(row).prompt == (ASK, SAY, {"role": "user", "content": "Bye"})


@pytest.mark.parametrize("weight, kept", [(None, 1.0), (2, 2.0), (0, 0.0), (0.25, 0.25)])
def test_ranking_keeps_its_weight_and_counts_one_when_it_has_none(weight, kept):
    name, row = weighed(weight)
    (ranking,) = FORMATS[name].convert(row).rankings
    assert (ranking.weight, ranking.ranks) == (kept, (1, 2, 3))
