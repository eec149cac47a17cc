"""Answers side by side: differences, JSON, scores."""

from __future__ import annotations

from made_up_run import samples

from pipeline.report.samples import marked, pretty, sample_set


def test_marked_tells_replaced_from_added_words_when_answers_are_alike() -> None:
    assert marked("open the door", "open a door") == "open <mark>a</mark> door"
    assert marked("open the door", "open the door now") == "open the door <ins>now</ins>"


def test_marked_escapes_each_piece_when_an_answer_holds_markup() -> None:
    assert marked("one two three", "one <i> two three") == "one <ins>&lt;i&gt;</ins> two three"


def test_marked_keeps_every_character_when_spaces_and_lines_differ() -> None:
    other = "  one\n\n two\tthree  four \n"
    plain = marked("one two five four", other)
    for tag in ("<mark>", "</mark>", "<ins>", "</ins>"):
        plain = plain.replace(tag, "")
    assert plain == other


def test_marked_marks_nothing_when_answers_have_little_in_common() -> None:
    assert "<" not in marked("the quick brown fox", "an entirely different sentence about something")


def test_marked_leaves_indents_unmarked_when_lines_are_added() -> None:
    html = marked("one two three four", "one two three four\n  five\n  six")
    assert html.endswith("<ins>five</ins>\n  <ins>six</ins>")


def test_pretty_indents_when_the_answer_is_json() -> None:
    assert pretty('{"a":[1],"b":"é"}') == ('{\n  "a": [\n    1\n  ],\n  "b": "é"\n}', True)


def test_pretty_changes_nothing_when_json_is_broken_or_repeats_a_key() -> None:
    for text in ('{"a": 1', '{"a": 1, "a": 2}', "12", '"text"', "[" * 100_000):
        shown, is_json = pretty(text)
        assert not is_json and text.startswith(shown[:10])


def test_sample_set_shows_twenty_rows_when_there_are_more() -> None:
    found = sample_set("judge", samples(*({"prompt": str(n), "answers": ["a", "b"]} for n in range(25))))
    assert len(found.rows) == 20 and found.num_rows == 25


def test_answers_carry_scores_and_remarks_when_given() -> None:
    row = {"prompt": "p", "answers": ["same", "same", " "], "scores": [0.123456, None]}
    (shown,) = sample_set("judge", samples(row, candidates=["base", "tuned"])).rows
    assert [a.figures for a in shown.answers] == [[("score", "0.1235")], [("score", "\N{EN DASH}")], []]
    assert [a.candidate for a in shown.answers] == ["base", "tuned", "candidate 3"]
    assert [a.remark for a in shown.answers] == ["", "the same as base", "an empty answer"]


def test_marks_are_left_out_when_only_one_answer_is_json() -> None:
    row = {"prompt": "p", "answers": ["one two three", '{"one": "two three four"}']}
    (shown,) = sample_set("judge", samples(row)).rows
    assert "<" not in shown.answers[1].html


def test_row_differs_when_any_answer_is_another_than_the_first() -> None:
    rows = [{"answers": ["a", "a", "b"]}, {"answers": ["a", "a"]}, {"answers": ['{"a":1}', '{"a": 1}']}, {}]
    found = sample_set("judge", samples(*rows))
    assert [row.differs for row in found.rows] == [True, False, False, False] and found.differ


def test_scores_differ_when_two_numbers_do() -> None:
    given = ([1, 2], [1, 1.0], [None, 1], ["1", 2], [float("nan"), 1])
    found = sample_set("judge", samples(*({"answers": ["a", "b"], "scores": scores} for scores in given)))
    assert [row.figure_differs for row in found.rows] == [True, False, False, False, False]
    assert found.differing == ["score"]


def test_each_figure_has_its_name_and_the_first_tells_which_rows_differ() -> None:
    figures = {"label_accuracy": [0, 0], "proxy score": [0.1, None]}
    found = sample_set("judge", samples({"answers": ["a", "b"], "figures": figures}))
    assert [answer.figures for answer in found.rows[0].answers] == [
        [("label_accuracy", "0"), ("proxy score", "0.1")],
        [("label_accuracy", "0"), ("proxy score", "\N{EN DASH}")],
    ]
    assert not found.rows[0].figure_differs and found.differing == []
    other = {"label_accuracy": [0, 1], "proxy score": [0.1, 0.1]}
    assert sample_set("judge", samples({"answers": ["a", "b"], "figures": other})).differing == ["label_accuracy"]
