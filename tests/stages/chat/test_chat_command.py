"""`posttune chat`: prompts from a pipe, answers in plain lines or columns, nothing raw on the terminal."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_run import BASE, write_rows

from pipeline.contract import Artifact, DataSource, ModelConfig, Source
from stages.chat.chat import chat as talk
from stages.chat.terminal import Terminal, shown
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.rollout.generate import generate


def say(model: ModelConfig, candidates: list[Artifact], *lines: str, **options: object) -> str:
    out = io.StringIO()
    given = io.StringIO("".join(f"{line}\n" for line in lines))
    talk(candidates, model, max_new_tokens=12, given=given, shown=out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def answer(model: ModelConfig, artifact: Artifact, chat: Chat, *turns: str, system: str | None = None) -> str:
    """What a candidate says to the last of the turns, by the stage's own generation."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    messages = [{"role": "system", "content": system}, *messages] if system else messages
    backbone = open_backbone(model)
    backbone.load("policy", artifact)
    (found,) = generate(backbone, "policy", chat, [chat.prompt_ids(messages)], max_new_tokens=12, temperature=0.0,
                        seed=1, purpose="test")  # fmt: skip
    return chat.decode(found.ids).strip()


@pytest.fixture
def sft(policies: list[Path]) -> Artifact:
    return Artifact("sft", "policy", policies[0])


def test_each_candidate_answers_with_a_history_of_its_own(model: ModelConfig, chat: Chat, sft: Artifact) -> None:
    out = say(model, [BASE, sft], "a", "b", "/quit", "never asked")
    for candidate in (BASE, sft):
        first = answer(model, candidate, chat, "a")
        second = answer(model, candidate, chat, "a", first, "b")
        for text in (first, second):
            assert f"{candidate.name}: {shown(text).splitlines()[0] if text else ''}" in out
    assert answer(model, BASE, chat, "a") != answer(model, sft, chat, "a")
    assert "> b" in out and "never asked" not in out


def test_reset_forgets_and_a_system_prompt_stays(model: ModelConfig, chat: Chat, sft: Artifact) -> None:
    out = say(model, [sft], "a", "/reset", "a", system="be brief")
    expected = f"sft: {shown(answer(model, sft, chat, 'a', system='be brief')).splitlines()[0]}"
    assert out.count(expected) == 2 and "a new conversation" in out
    assert answer(model, sft, chat, "a", system="be brief") != answer(model, sft, chat, "a")


def test_system_prompt_that_all_rows_have_is_said_unless_another_or_none_is_given(
    model: ModelConfig, chat: Chat, sft: Artifact, tmp_path: Path
) -> None:
    rows = [[{"role": "system", "content": "be brief"}, {"role": "user", "content": text}] for text in "ab"]
    file = write_rows(tmp_path / "rows.jsonl", [{"prompt": row} for row in rows])
    sources = [Source("rows", DataSource(path=str(file), split="all"))]
    out = say(model, [sft], "a", sources=sources)
    assert "system prompt, as in the rows that were learnt from: be brief" in out
    assert f"sft: {shown(answer(model, sft, chat, 'a', system='be brief')).splitlines()[0]}" in out
    for given in ("", "be kind"):
        assert "as in the rows" not in say(model, [sft], "a", sources=sources, system=given)


def test_sampled_transcript_repeats_under_the_same_seed(model: ModelConfig, sft: Artifact) -> None:
    one, again, other = (say(model, [sft], "a", "b", temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_unknown_command_and_a_conversation_that_is_too_long_are_told(model: ModelConfig, sft: Artifact) -> None:
    out = say(model, [sft], "/rest", "x" * 900, "", "   ")
    assert "no such command" in out and "/reset, a shorter prompt" in out
    assert "sft: " not in out.partition("an answer\n")[2]


def test_nothing_that_a_terminal_acts_on_gets_through() -> None:
    text = shown("red \x1b[31m\x07 title \x1b]0;x\x07\r\nnext \u202ereversed\x9b1m\rover")
    assert not set(text) & set("\x1b\x07\x9b\r\u202e")
    assert text.count("\n") == 1 and "⟨U+001B⟩[31m" in text


def impatient(line: str) -> str:
    """The reader presses Ctrl-C a moment after the line `long`."""
    if line.startswith("long"):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    return line


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def sigint() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell's background jobs, and so their tests, are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_stops_an_answer_and_takes_back_its_turn(
    model: ModelConfig, sft: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, out = iter(["long", "/quit"]), Screen()
    monkeypatch.setattr("builtins.input", lambda prompt: impatient(next(typed)))
    talk([sft], model, max_new_tokens=450, given=Screen(), shown=out)
    assert "stopped; the conversation is as it was" in out.getvalue()
    assert "sft: " not in out.getvalue()


class Piped(io.StringIO):
    def readline(self, size: int = -1, /) -> str:
        return impatient(super().readline(size))


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_ends_the_command_where_prompts_are_piped(model: ModelConfig, sft: Artifact) -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        talk([sft], model, max_new_tokens=450, given=Piped("long\nnever asked\n"), shown=out)
    assert "never asked" not in out.getvalue()


def test_answers_stand_side_by_side_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    Terminal(io.StringIO(), screen, ["base", "sft"]).show(["left \x1b[2J", "right"])
    assert any("left" in line and "right" in line for line in screen.getvalue().splitlines())
    assert "\x1b[2J" not in screen.getvalue()
