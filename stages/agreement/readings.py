"""What the figures of agreement.py mean, in words and tables, for whoever pays for the annotations."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping

from pipeline.contract import Table
from stages.agreement.agreement import Agreement
from stages.agreement.annotators import Annotator
from stages.agreement.intervals import FEW_TASKS, Figure, points_either_way

WIDTH = 120
LOW, NORMAL, COPIED = 0.2, (0.3, 0.6), 0.9  # of alpha
BY_CHANCE = "so does one in twenty by chance"
PUBLISHED = (0.63, 0.77)  # pairs on which two people agree, in published preference data


def describe(agreement: Agreement) -> str:
    """The whole report as plain text: the tables, and then what to look at."""
    parts = [as_text(table) for table in tables(agreement)]
    found = [f"  - {text}" for text in warnings(agreement)]
    return "\n\n".join([*parts, "\n".join(["To look at", *found])] if found else parts)


def tables(agreement: Agreement) -> list[Table]:
    """The report's tables; those with nothing in them are left out."""
    made = [_in_short(agreement), _people(agreement), _between(agreement), _disputed(agreement), _circles(agreement)]
    return [table for table in made if table.rows]


def warnings(agreement: Agreement) -> list[str]:
    """What somebody should look at before training, one sentence each."""
    found = []
    alpha = agreement.alpha.value
    if alpha is not None and alpha < LOW:
        found.append(
            f"alpha is {alpha:.2f}: people hardly agree beyond chance. Read the most disputed tasks together, mend the "
            "instructions, and have some tasks judged again before you train on this"
        )
    if alpha is not None and alpha > COPIED:
        found.append(f"alpha is {alpha:.2f}: more than people usually reach. Were answers copied?")
    found += [
        f"{one} and {other} give nearly the same rankings (tau-b {figure.value:.2f} over {figure.n} tasks): copied?"
        for (one, other), figure in agreement.tau_b.items()
        if figure.value is not None and figure.value > COPIED and figure.n >= FEW_TASKS
    ]
    for person in agreement.annotators:
        found += [f"{person.name} {text}" for text in habits(person)]
    for name, skill in agreement.skills.items():
        if skill.care < 0.1:
            what = "opposite to the others': is the scale upside down?" if skill.care < -0.1 else "like guesses"
            found.append(
                f"{name}'s choices are {what} (says the first shown: {skill.left_when_left:.0%} where it is better, "
                f"{skill.left_when_right:.0%} where it is not; {skill.num_pairs} pairs)"
            )
    return found


def habits(person: Annotator) -> list[str]:
    """What is odd about one annotator's answers; an interval decides where there is one, so few answers say little."""
    first, expected = person.first_position, person.as_shown_by_chance
    checks: list[tuple[bool, str]] = [
        (_below(person.gold, 0.8), f"orders gold pairs as the key does in {cell(person.gold)}"),
        (_below(person.repeats, 0.7), f"answers a repeated task as before in {cell(person.repeats)} of its pairs"),
        (_below(person.with_others, 0.5), f"agrees with the others less than by chance: {cell(person.with_others)}"),
        (_below(first, 0.5), f"favours what is shown first: normalised rank {cell(first)}; {BY_CHANCE}"),
        (_above(first, 0.5), f"favours what is shown later: normalised rank {cell(first)}; {BY_CHANCE}"),
        (_above(person.too_fast, 0.1), f"answers faster than the texts can be read in {cell(person.too_fast)}"),
        (_above(person.untouched, 0.05), f"moved nothing in {cell(person.untouched)}"),
        (
            expected is not None and _above(person.as_shown, expected),
            f"ranks in the order shown in {cell(person.as_shown)}; {expected or 0:.0%} are to be expected",
        ),
    ]
    return [text for odd, text in checks if odd]


def alpha_reading(alpha: float | None) -> str:
    """Beside published preference data, where the textbook thresholds (.667 and .8) are out of reach."""
    if alpha is None:
        return "not known: no completion was ranked by two people"
    if alpha < LOW:
        return "low: hardly more than chance"
    if alpha > COPIED:
        return "suspiciously high: were answers copied?"
    low, high = NORMAL
    place = "below most" if alpha < low else "above most" if alpha > high else "in line with"
    return f"{place} published preference data"


def pair_reading(agreement: float | None) -> str:
    """Of the share of pairs on which two people agree, ties left out."""
    if agreement is None:
        return "not known: no pair was ordered by two people"
    low, high = PUBLISHED
    place = "below" if agreement < low else "above" if agreement > high else "in line with"
    return f"{place} published preference data ({low:.0%} to {high:.0%}); chance is 50%"


def cell(figure: Figure) -> str:
    """value [low, high] (n of what)."""
    if figure.value is None:
        return "-"
    interval = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.2f}{interval} ({figure.n} {figure.of})"


def as_text(table: Table) -> str:
    """A table for a terminal or a text file: columns aligned, long notes wrapped."""
    rows = [[_shown(value) for value in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([table.title, *(f"  {line}" for line in lines), *textwrap.wrap(table.note, WIDTH)])


def _in_short(agreement: Agreement) -> Table:
    apart = agreement.pairwise_apart
    rows = [
        ["two people agree on a pair, neither calls it a tie", cell(apart), pair_reading(apart.value)],
        ["the same, a tie being half a win for each", cell(agreement.pairwise), "chance is 0.5"],
        ["Krippendorff's alpha, normalised ranks", cell(agreement.alpha), alpha_reading(agreement.alpha.value)],
        *([f"Kendall's W of {num}", cell(w), f"0 to 1; chance is {1 / num:.2f}"] for num, w in agreement.w.items()),
    ]
    statuses = ", ".join(f"{num} {status}" for status, num in sorted(agreement.statuses.items())) or "none"
    note = (
        f"{agreement.num_ranked} tasks ranked, {agreement.num_overlapped} of them by two or more; answers: {statuses}. "
        f"Gold and repeated tasks are not in these figures. 95% intervals, whole tasks resampled. "
    )
    if apart.n:
        note += (
            f"How surely: {apart.n} shared pairs without a tie tell a share to within "
            f"{100 * points_either_way(apart.n):.1f} points at best; 100 give +-{100 * points_either_way(100):.0f}"
        )
    return Table("Do the annotators agree?", ["figure", "value", "reading"], rows, note)


PERSON: dict[str, Callable[[Annotator], str | float | None]] = {
    "annotator": lambda p: p.name,
    "answers": lambda p: p.num_answers,
    "with the others": lambda p: cell(p.with_others),
    "gold": lambda p: cell(p.gold),
    "repeats": lambda p: cell(p.repeats),
    "shown first": lambda p: _short(p.first_position),
    "left wins": lambda p: _short(p.left_wins),
    "seconds": lambda p: None if p.median_seconds is None else round(p.median_seconds, 1),
    "too fast": lambda p: _short(p.too_fast),
    "untouched": lambda p: _short(p.untouched),
    "ties": lambda p: _short(p.ties),
    "skipped": lambda p: _short(p.skipped),
    "all bad": lambda p: _short(p.all_bad),
}


def _people(agreement: Agreement) -> Table:
    rows = [[read(person) for read in PERSON.values()] for person in agreement.annotators]
    note = (
        "with the others: ties half. gold: pairs ordered as the key does. repeats: pairs judged alike the second time. "
        "shown first: mean normalised rank of the completion shown first (0 best, 1 worst, 0.50 without a habit). "
        "too fast: under 2 s and 15 words a second"
    )
    return Table("Annotators", list(PERSON), rows, note)


def _between(agreement: Agreement) -> Table:
    names = sorted({name for both in agreement.tau_b for name in both})
    figures = {**agreement.tau_b, **{both[::-1]: figure for both, figure in agreement.tau_b.items()}}
    rows = [[name, *(_tau(figures.get((name, other))) for other in names)] for name in names]
    return Table("Between annotators", ["tau-b (tasks)", *names], rows, "Mean over shared tasks; 1 alike, 0 chance")


def _disputed(agreement: Agreement) -> Table:
    rows = [
        [one.task_id, f"{one.agreement:.2f} ({one.num_pairs} pairs)", _line(one.prompt, 50), _said(one.comments)]
        for one in agreement.disputed
    ]
    return Table("Most disputed tasks", ["task", "agreement", "prompt", "comments"], rows)


def _circles(agreement: Agreement) -> Table:
    tasks = {cycle.task_id for cycle in agreement.cycles}
    told = {
        "tasks in which majorities go in a circle": len(tasks),
        "pairs that one annotator ordered both ways": len(agreement.reversals),
        "circles in one annotator's answers": len(agreement.own_cycles),
    }
    note = "Circles need no repair, as training reads each pair's votes: they say that completions are close"
    return Table("Contradictions", ["what", "number"], [[what, num] for what, num in told.items() if num], note)


def _said(comments: Mapping[str, str]) -> str:
    return _line("; ".join(f"{name}: {text}" for name, text in comments.items()), 60)


def _tau(figure: Figure | None) -> str:
    return "" if figure is None or figure.value is None else f"{figure.value:.2f} ({figure.n})"


def _short(figure: Figure) -> str:
    return "-" if figure.value is None else f"{figure.value:.2f}"


def _shown(value: str | float | None) -> str:
    return "-" if value is None else str(value)


def _line(text: str, width: int) -> str:
    """The beginning, on one line and without what moves a terminal's cursor: comments are other people's text."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= width else clean[: width - 4] + " ..."


def _below(figure: Figure, level: float) -> bool:
    return figure.high is not None and figure.high < level


def _above(figure: Figure, level: float) -> bool:
    return figure.low is not None and figure.low > level
