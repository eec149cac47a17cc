"""The page in a real browser: what is pressed is what comes back, and no text of a model does anything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from annotator import Annotator, address, chromium
from hostile_texts import HOSTILE
from made_up_batch import made_up_batch

from stages.annotation.batch import Batch

pytestmark = pytest.mark.browser
LONG = "\n".join(f"line {number}" for number in range(120))
Sit = Callable[..., Annotator]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def sit(browser: Any, tmp_path: Path) -> Iterator[Sit]:
    """Opens a batch's page in a tab. The tabs of a test share one profile; at its end none may have complained."""
    context = browser.new_context()
    opened: list[Annotator] = []

    def open_tab(batch: Batch, **changes: str) -> Annotator:
        tab = context.new_page()
        for script in changes.values():
            tab.add_init_script(script)
        opened.append(Annotator(tab, address(batch, tmp_path)))
        return opened[-1]

    yield open_tab
    complaints = [complaint for annotator in opened for complaint in annotator.complaints]
    context.close()
    assert complaints == []


def test_twenty_tasks_are_ranked_with_the_keyboard_alone_and_come_back_when_reloaded_in_between(
    sit: Sit, tmp_path: Path
) -> None:
    random_ranks = random.Random(11)
    batch = made_up_batch([[f"{n} of {number}" for n in range(3 + number % 4)] for number in range(20)], ["ann1"])
    ann = sit(batch)
    ann.press("Enter")
    pressed = {}
    for number, (task, shown) in enumerate(batch.of("ann1")):
        if number == 10:
            ann.tab.reload()
            ann.press("Enter")
        assert ann.heading() == f"Task {number + 1} of 20"
        ranks = [random_ranks.randint(1, len(shown)) for _ in shown]
        pressed[task.task_id] = dict(zip(shown, ranks, strict=True))
        ann.press(*map(str, ranks), "Enter")
    assert ann.heading() == "All done. Thank you!"
    returned = ann.answers(batch, tmp_path)
    assert (len(returned.answers), list(returned.problems), dict(returned.ignored)) == (20, [], {})
    for answer, (_, shown) in zip(returned.answers, batch.of("ann1"), strict=True):
        used = sorted(set(pressed[answer.task_id].values()))
        assert answer.ranks == {name: 1 + used.index(rank) for name, rank in pressed[answer.task_id].items()}
        assert (answer.status, answer.shown, answer.touched, answer.revision) == ("ranked", shown, True, 1)
        assert answer.started_at <= answer.submitted_at


def test_skip_flag_all_bad_and_comment_come_back_as_given(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]] * 4, ["ann1"])
    ann = sit(batch)
    ann.press("Enter", "1", "s", "3")  # half ranked, then skipped for the third reason
    ann.press("b", "Enter")
    ann.press("f", "2", "Escape", "1", "1", "2", "c")
    ann.tab.keyboard.insert_text("=1+1 \u202e </script> \u00e9")
    ann.press("Escape", "Enter")
    ann.press("s", "Tab", "Tab", "Tab", "Tab", "Tab")
    ann.tab.keyboard.insert_text("too long")
    ann.press("Enter")
    skipped, bad, flagged, other = ann.answers(batch, tmp_path).answers
    assert (skipped.status, skipped.skip_reason, skipped.ranks) == ("skipped", "I do not read this language", {})
    assert (bad.status, bad.flags, bad.ranks) == ("flagged", ("all_bad",), {})
    assert (flagged.status, flagged.flags, flagged.comment) == ("ranked", ("unsafe",), "=1+1 \u202e </script> \u00e9")
    assert (other.status, other.skip_reason) == ("skipped", "too long")


def test_nothing_is_ranked_and_nothing_can_be_done_when_nothing_was_chosen(sit: Sit, tmp_path: Path) -> None:
    ann = sit(made_up_batch([["a", "b", "c"], ["d", "e", "f"]], ["ann1"]))
    ann.press("Enter")
    assert ann.tab.locator("input:checked").count() == 0
    ann.press("Enter")
    assert ann.heading() == "Task 1 of 2"
    assert "No rank yet: A, B, C." in ann.tab.locator("footer").inner_text()
    assert ann.tab.get_by_role("button", name="Done and next").is_disabled()


def test_undo_takes_back_one_change_at_a_time_also_of_a_task_that_was_done(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]] * 2, ["ann1"])
    ann = sit(batch)
    ann.press("Enter", "2", "1", "3", "Enter")
    assert ann.heading() == "Task 2 of 2"
    ann.press("u", "u")
    assert ann.heading() == "Task 1 of 2"
    assert [ann.standing(letter) for letter in "ABC"] == [
        "Answer A, rank 2",
        "Answer B, rank 1",
        "Answer C, not ranked",
    ]


def test_answer_is_of_a_higher_revision_when_it_was_changed_later(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    ann = sit(batch)
    ann.press("Enter", "1", "2", "3", "Enter", "p", "3", "3", "1", "Enter")
    (answer,) = ann.answers(batch, tmp_path).answers
    assert (list(answer.ranks[name] for name in answer.shown), answer.revision) == ([2, 2, 1], 2)


@pytest.mark.parametrize(
    ("key", "ranks", "strength"),
    [("1", (1, 2), 3), ("2", (1, 2), 2), ("3", (1, 2), 1), ("4", (1, 1), 0), ("5", (2, 1), 1), ("7", (2, 1), 3)],
)
def test_strip_gives_winner_and_strength_when_there_are_two(
    key: str, ranks: tuple[int, int], strength: int, sit: Sit, tmp_path: Path
) -> None:
    batch = made_up_batch([["a", "b"]], ["ann1"])
    ann = sit(batch)
    ann.press("Enter", key)
    assert ann.tab.get_by_role("radio", checked=True).get_attribute("value") == key
    ann.press("Enter")
    (answer,) = ann.answers(batch, tmp_path).answers
    assert (answer.ranks, answer.strength) == (dict(zip(answer.shown, ranks, strict=True)), strength)


def test_long_card_cannot_be_ranked_until_it_is_opened(sit: Sit) -> None:
    ann = sit(made_up_batch([[LONG, "short", LONG + "!"]], ["ann1"]))
    ann.press("Enter")
    closed = next(letter for letter in "ABC" if "not opened" in ann.standing(letter))
    for _ in range("ABC".index(closed)):
        ann.press("j")
    ann.press("1")
    assert ann.standing(closed) == f"Answer {closed}, not opened yet"
    assert ann.card(closed).get_by_role("radio").first.is_disabled()
    ann.press("o", "1")
    assert ann.standing(closed) == f"Answer {closed}, rank 1"
    ann.tab.reload()
    ann.press("Enter")
    assert ann.standing(closed) == f"Answer {closed}, rank 1"


def test_strip_is_closed_until_both_long_cards_are_opened(sit: Sit) -> None:
    ann = sit(made_up_batch([[LONG, LONG + "!"]], ["ann1"]))
    ann.press("Enter", "1")
    assert ann.tab.locator("input:checked").count() == 0
    ann.press("o", "j", "o", "1")
    assert ann.tab.locator("input:checked").count() == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_does_nothing_and_is_shown_as_it_was_written(name: str, sit: Sit) -> None:
    text = HOSTILE[name]
    batch = made_up_batch([[text, text + "!", "harmless"]], ["ann1"], questions=[text])
    ann = sit(batch)
    ann.press("Enter")
    (task, shown) = batch.of("ann1")[0]
    assert ann.texts() == [text, *(task.text(one) for one in shown)]
    assert ann.tab.evaluate("window.__pwned") is None
    assert ann.tab.locator(".text :not(.tag)").count() == 0
    ann.press("v")
    assert ann.tab.evaluate("window.__pwned") is None
    kinds = "p, pre, code, strong, ul, li, span"
    assert ann.tab.locator(f".text :not({kinds})").count() == 0


def test_hostile_words_around_the_tasks_do_nothing(sit: Sit) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    text = HOSTILE["end of the data block"] + HOSTILE["handler"] + HOSTILE["bidi"]
    object.__setattr__(batch, "title", text)
    object.__setattr__(batch, "instructions", text)
    ann = sit(batch)
    assert "[U+202E]" in ann.heading() and "<script>" in ann.tab.locator(".instructions").inner_text()
    assert ann.tab.evaluate("window.__pwned") is None


def test_ordinary_joiners_are_no_hidden_characters(sit: Sit) -> None:
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648"
    ann = sit(made_up_batch([[family, persian, "a\u200db"]], ["ann1"]))
    ann.press("Enter")
    assert ann.tab.locator(".tag").all_inner_texts() == ["[U+200D]"]


def test_formatted_view_makes_code_lists_bold_and_headings_of_marks(sit: Sit) -> None:
    marked = "# Title\nSome **bold** and `code`.\n\n```py\na < b\n\n\nc\n```\n- one\n- two\n\n[link](http://x.invalid)"
    ann = sit(made_up_batch([[marked, "b", "c"]], ["ann1"]))
    ann.press("Enter", "v")
    text = lambda kind: ann.tab.locator(f".card .text {kind}").all_inner_texts()  # noqa: E731
    assert (text("pre"), text("strong"), text("code")) == (["a < b\n\n\nc"], ["bold"], ["code"])
    assert (text(".heading"), text("li > span:last-child")) == (["Title"], ["one", "two"])
    assert text("a") == [] and "[link](http://x.invalid)" in text("p")


def test_newer_answers_are_taken_over_when_the_page_is_open_in_two_tabs(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]] * 2, ["ann1"])
    one, two = sit(batch), sit(batch)
    one.press("Enter", "1", "2", "3")
    two.press("Enter")
    two.tab.locator(".card").first.wait_for()
    one.press("Enter", "3", "2", "1", "Enter")
    two.tab.locator(".bar.notice").wait_for()
    two.press("g")
    assert two.tab.locator(".cell.ranked").count() == 2
    two.press("n")
    assert len(two.answers(batch, tmp_path).answers) == 2


def test_red_bar_stands_and_leaving_is_asked_about_when_storage_is_refused(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    ann = sit(batch, refuse="Storage.prototype.setItem = () => { throw new DOMException('no', 'QuotaExceededError') }")
    leaves = "window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    assert "not saved" in ann.tab.get_by_role("alert").inner_text()
    assert ann.tab.evaluate(leaves) is True
    ann.press("Enter", "1", "2", "3", "Enter")
    assert ann.tab.evaluate(leaves) is False
    assert len(ann.answers(batch, tmp_path).answers) == 1
    assert ann.tab.evaluate(leaves) is True


def test_page_works_when_there_is_no_storage_at_all(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    ann = sit(batch, refuse="Object.defineProperty(window, 'localStorage', { get() { throw new Error('none') } })")
    ann.press("Enter", "1", "2", "3", "Enter")
    assert len(ann.answers(batch, tmp_path).answers) == 1


def test_damaged_storage_is_put_aside_and_told(sit: Sit) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    ann = sit(batch)
    ann.press("Enter", "1")
    key = ann.tab.evaluate("Object.keys(localStorage).find((name) => name.startsWith('pref:'))")
    assert key.startswith(f"pref:{batch.batch_id}:ann1:")
    other = sit(batch, damage=f"localStorage.setItem({json.dumps(key)}, '{{torn')")
    assert "cannot be read" in other.tab.locator(".bar.notice").inner_text()
    assert other.tab.evaluate(f"localStorage.getItem({json.dumps(key + ':unreadable')})") == "{torn"


def test_earlier_file_is_loaded_with_its_drafts_on_another_machine(sit: Sit, browser: Any, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]] * 3, ["ann1"])
    ann = sit(batch)
    ann.press("Enter", "1", "2", "2", "Enter", "3", "g")
    ann.tab.get_by_role("button", name="Finish and download").click()
    path = ann.download(tmp_path)
    context = browser.new_context()
    elsewhere = Annotator(context.new_page(), address(batch, tmp_path))
    elsewhere.tab.set_input_files("#load", path)
    assert "2 answers loaded." in elsewhere.tab.locator(".bar.notice").inner_text()
    elsewhere.press("Enter", "p")
    assert [elsewhere.standing(letter)[-6:] for letter in "ABC"] == ["rank 1", "rank 2", "rank 2"]
    elsewhere.press("n")
    assert elsewhere.standing("A") == "Answer A, rank 3"
    context.close()
    assert elsewhere.complaints == []


@pytest.mark.parametrize("content", ["{torn", "[]", '{"schema":"pref.rankings/2"}', '{"schema":"pref.rankings/1"}'])
def test_file_of_something_else_is_told_and_changes_nothing(content: str, sit: Sit, tmp_path: Path) -> None:
    ann = sit(made_up_batch(annotators=["ann1"]))
    (tmp_path / "other.json").write_text(content, "utf-8")
    ann.tab.set_input_files("#load", tmp_path / "other.json")
    assert "Nothing was changed." in ann.tab.locator(".bar.notice").inner_text()


def test_single_keys_do_nothing_when_they_are_switched_off(sit: Sit) -> None:
    ann = sit(made_up_batch([["a", "b", "c"]] * 2, ["ann1"]))
    ann.tab.get_by_role("checkbox").uncheck()
    ann.tab.get_by_role("button", name="Begin").press("Enter")
    ann.press("1", "b", "s", "n")
    assert ann.heading() == "Task 1 of 2"
    assert ann.tab.locator("input:checked, dialog, [aria-pressed=true]").count() == 0
    ann.press("Tab", "Space", "Tab", "Tab", "ArrowRight")  # native radios: A's first, past "Clear", then B's second
    assert [ann.standing(letter) for letter in "AB"] == ["Answer A, rank 1", "Answer B, rank 2"]


def test_time_stands_still_when_nobody_is_there(sit: Sit, tmp_path: Path) -> None:
    batch = made_up_batch([["a", "b", "c"]], ["ann1"])
    ann = sit(batch, clock="let t = 0; performance.now = () => t; window.wait = (s) => { t += s * 1000 }")
    ann.press("Enter")
    ann.tab.evaluate("wait(20)")
    ann.press("1")
    ann.tab.evaluate("wait(3600)")  # an hour away: at most a minute of it counts
    ann.press("2", "3", "Enter")
    (answer,) = ann.answers(batch, tmp_path).answers
    assert answer.active_seconds == 80


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_is_wider_than_the_screen(width: int, sit: Sit) -> None:
    batch = made_up_batch([["x" * 400, "b", "```\n" + "y" * 400 + "\n```", *"defghi"], ["x" * 300, "b"]], ["ann1"])
    ann = sit(batch)
    ann.tab.set_viewport_size({"width": width, "height": 700})
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    for keys in ((), ("Enter",), ("v",), ("b", "Enter"), ("?",), ("Escape", "f"), ("Escape", "g")):
        ann.press(*keys)
        assert ann.tab.evaluate(fits), keys
