"""Every error a person can meet: one short message with the place, the finding and the remedy."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
DONE, FAILED, WRONG_INPUT, WAITING, INTERRUPTED = 0, 1, 2, 3, 130


class PosttuneError(Exception):
    """Base of all errors this project raises on purpose.

    `where` names the place (file, line, key or row), `problem` what was found and what is allowed,
    `remedy` what to do next. `exit_code` is what the command line returns.
    """

    exit_code = FAILED

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        self.problem, self.where, self.remedy = problem, where, remedy
        super().__init__(problem)

    def __str__(self) -> str:
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{head}\n  -> {self.remedy}" if self.remedy else head


class UserError(PosttuneError, ValueError):
    """The recipe, the data or the command is wrong: the user can mend it."""

    exit_code = WRONG_INPUT


class RecipeError(UserError):
    """A recipe, or a `--set` override, says something it must not."""


class DataError(UserError):
    """A data file or one of its rows cannot be used."""


class ModelError(UserError):
    """A model, its tokenizer or its chat template cannot be used as asked."""


class StageFailed(PosttuneError):
    """A stage stopped for a reason that is not the user's input."""


class Waiting(PosttuneError):
    """The pipeline cannot go on until people have sent their rankings."""

    exit_code = WAITING


class Interrupted(PosttuneError):
    """SIGINT, SIGTERM or SIGUSR1 arrived; a checkpoint was written and the next run goes on from it."""

    exit_code = INTERRUPTED


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a name that is not known: the closest known one, else the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(names) if names else "there are none"


def first_line(error: BaseException) -> str:
    """What a library says of what it cannot use, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def disk_problem(error: BaseException) -> str | None:
    """What the operating system says where a disk takes no more, however a library has wrapped it; else None."""
    link: BaseException | None = error
    while link is not None:
        code = link.errno if isinstance(link, OSError) else None
        if found := re.search(r"\(os error (\d+)\)", str(link)):  # safetensors, in Rust's words
            code = int(found.group(1))
        if code in DISK_ERRORS:
            return os.strerror(code)
        link = link.__cause__ or link.__context__
    return None
