"""Answers kept in checkpoints as candidates give them: a stop costs those of the candidate that was answering."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.contract import Context
from stages.checkpoint import state as checkpoint
from stages.checkpoint import store
from stages.evaluate.answers import Answers
from stages.modeling.backbone import Backbone
from stages.rollout.generate import Completion


class Kept:
    """The answers so far, by candidate: those of the newest checkpoint, and what is added."""

    def __init__(self, context: Context, backbone: Backbone) -> None:
        self._folder, self._arithmetic = context.checkpoints, backbone.arithmetic
        self._answers = self._read(context)

    def __contains__(self, candidate: str) -> bool:
        return candidate in self._answers

    def add(self, candidate: str, answers: Answers) -> None:
        """Take a candidate's answers in, and write a checkpoint of all so far."""
        self._answers[candidate] = answers
        if self._folder is not None:
            store.save(self._folder, len(self._answers), self._write)

    def of(self, candidates: Sequence[str]) -> dict[str, Answers]:
        """The answers of those who have given any, in this order."""
        return {name: self._answers[name] for name in candidates if name in self._answers}

    def _write(self, folder: Path) -> None:
        answers = {name: {**vars(own), "completions": _plain(own.completions)} for name, own in self._answers.items()}
        checkpoint.write(folder, {"arithmetic": self._arithmetic, "answers": answers})

    def _read(self, context: Context) -> dict[str, Answers]:
        found = store.newest(context.checkpoints, context.say)
        if found is None:
            return {}
        with checkpoint.reading(found[1], self._arithmetic, context) as state:
            answers = {
                name: Answers(**{**own, "completions": [Completion(**given) for given in own["completions"]]})
                for name, own in state["answers"].items()
            }
        context.say(f"going on: the answers of {', '.join(answers)} are kept")
        return answers


def _plain(completions: Sequence[Completion]) -> list[dict[str, Any]]:
    """Without the log-probabilities, which nobody asks for here."""
    return [{"ids": completion.ids, "ended": completion.ended} for completion in completions]
