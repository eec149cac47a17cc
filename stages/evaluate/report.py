"""The evaluation as the report shows it: the verdict, the tables it rests on, costs, and answers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.contract import Fragment, Plot, Result, Samples, Table, Verdict
from stages.evaluate.answers import Answers, Figures, Question, difference_interval, mean, mean_interval, with_interval
from stages.evaluate.asking.candidates import Candidate
from stages.evaluate.checks.labels import WHOLE, Labels, confusion, read_labels
from stages.evaluate.config import Config
from stages.evaluate.cost.calls import cost_table, quality_against_cost
from stages.evaluate.cost.costs import Costs
from stages.evaluate.foretold import JUDGED
from stages.evaluate.measuring.forgetting import Forgetting
from stages.evaluate.measuring.measuring import Measured
from stages.evaluate.verdict.cautions import cautions
from stages.evaluate.verdict.contest import Contender, hold
from stages.evaluate.verdict.primary import PROXY, choose_primary, direction
from stages.evaluate.verdict.verdict import no_verdict, verdict
from stages.evaluate.verdict.win_rates import win_rate_table
from stages.objectives.classification import macro_f1_difference, macro_f1_interval
from stages.objectives.comparisons import NUM_RESAMPLES
from stages.objectives.statistics import bootstrap_ci

ANSWERS = "answers.jsonl"  # in the artifact: a row a question, with every candidate's answer
FIELD = "field/"  # how the figures of a JSON answer's single fields begin: they have a table of their own


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found out."""

    questions: Sequence[Question]
    compared: Sequence[Candidate]
    answers: Mapping[str, Answers]
    measured: Measured
    costs: Costs
    forgotten: Forgetting
    reference: str | None  # the candidate that KL is measured to
    left_out: Sequence[str]  # servers that failed, and why

    @property
    def figures(self) -> Mapping[str, Figures]:
        """A figure's value for each question, by candidate."""
        return self.measured.figures


def report(config: Config, found: Evaluation) -> Result:
    """All fragments and metrics; the verdict and the figures in short are also said on the terminal."""
    figures, tables = found.figures, _tables(config, found)
    judged, controlled = win_rate_table(figures)
    labelled, macro = _labels(found)
    primary = choose_primary(figures, config.primary)
    decided = _verdict(config, found, primary)
    extra = [*([judged] if judged else []), *found.measured.tables, *labelled, *found.forgotten.tables]
    fragments: list[Fragment] = [*decided, *tables, *extra, _samples(config, found, primary)]
    results = [(name, primary) for name in figures if primary in figures[name]]  # first: `posttune status` shows few
    results += [(name, figure) for name, own in figures.items() for figure in own if figure != primary]
    metrics = {f"{_key(name)}/{_key(figure)}": mean(figures[name][figure]) for name, figure in results}
    metrics |= {_key(name): value for name, value in (controlled | macro | found.forgotten.metrics).items()}
    said = [line for fragment in decided if isinstance(fragment, Verdict) for line in fragment.sentences]
    return Result(metrics, fragments, [*said, "", *_aligned(tables[0])])


def _key(name: str) -> str:
    """As metrics are called: `base+few_shot/win_rate`."""
    return name.replace(" + ", "+").replace(" ", "_")


def _verdict(config: Config, found: Evaluation, primary: str | None) -> list[Verdict | Table | Plot]:
    contenders = [
        Contender(
            candidate.name,
            is_tuned=candidate.policy is not None and candidate.policy.path is not None,
            is_plain=candidate.is_plain,
            is_same_model=candidate.policy is not None,
        )
        for candidate in found.compared
    ]
    costs = found.costs
    if primary is None:
        table = cost_table(costs.calls, costs.speeds, costs.training)
        return [no_verdict(config.primary, found.forgotten.warnings, _cautions(config, found)), table]
    contest = hold(found.figures, contenders, primary)
    return [
        *verdict(
            contest,
            contenders,
            found.figures,
            costs=costs.calls,
            training_costs=costs.training,
            warnings=found.forgotten.warnings,
            cautions=_cautions(config, found),
        ),
        quality_against_cost(found.figures, primary, costs.calls),
        cost_table(costs.calls, costs.speeds, costs.training, contest.best_untuned),
    ]


def _cautions(config: Config, found: Evaluation) -> list[str]:
    tuned = [c.name for c in found.compared if c.policy is not None and c.policy.path is not None]
    judged = any(JUDGED in own for own in found.figures.values())
    unjudged = config.judge is not None and len(found.compared) > 1 and not judged
    left_out = [*found.left_out, *(["the LLM judge is left out, see its table"] if unjudged else [])]
    return cautions(found.figures, tuned, left_out, config.max_new_tokens)


def _tables(config: Config, found: Evaluation) -> list[Table]:
    """Every figure with its interval, and every difference from the first candidate and from the reference."""
    how = "greedy" if config.temperature == 0 else f"sampled at temperature {config.temperature:g}"
    note = (
        f"{len(found.questions)} held-out prompts, {how}, at most {config.max_new_tokens} new tokens; 95% intervals "
        "over prompts"
    )
    if any(PROXY in own for own in found.figures.values()):
        note += ". The proxy is the reward model that PPO optimised: read it beside the others"
    note += "".join(f". Mind: {remark}" for remark in found.measured.remarks)
    note += "".join(f". {name} {own.remark}" for name, own in found.answers.items() if own.remark)
    note += "".join(f". {line}" for line in found.left_out)
    names = list(found.figures)
    whole = [name for name in _all_figures(found) if not name.startswith(FIELD)]
    parts = [name for name in _all_figures(found) if name.startswith(FIELD)]
    tables = [Table("Candidates on held-out prompts", ["figure", *names], _rows(found, whole), note)]
    if parts:
        tables.append(Table("Fields of the answers", ["field", *names], _rows(found, parts), "Shares of right values"))
    baselines = [names[0], *([found.reference] if found.reference in names[1:] else [])] if names[1:] else []
    return [*tables, *(_differences(found.figures, baseline, whole) for baseline in baselines)]


def _all_figures(found: Evaluation) -> list[str]:
    return list(dict.fromkeys(figure for own in found.figures.values() for figure in own))


def _rows(found: Evaluation, wanted: Sequence[str]) -> list[list[str | float | None]]:
    every = list(found.figures.values())
    return [
        [figure, *(with_interval(_interval(figure, own[figure])) if figure in own else None for own in every)]
        for figure in wanted
    ]


def _interval(figure: str, values: Sequence[float | None]) -> tuple[float, float, float]:
    """A KL or a length that happens to be 0 everywhere is no share of right answers."""
    if direction(figure) > 0:
        return mean_interval(values)
    return bootstrap_ci([value for value in values if value is not None], NUM_RESAMPLES)


def _differences(figures: Mapping[str, Figures], baseline: str, wanted: Sequence[str]) -> Table:
    others = [name for name in figures if name != baseline]
    own = figures[baseline]
    shared = [m for m in wanted if m in own and any(m in figures[name] for name in others)]
    rows = [
        [m, *(with_interval(difference_interval(figures[n][m], own[m])) if m in figures[n] else None for n in others)]
        for m in shared
    ]
    note = "Paired by prompt; 95% intervals, each alone: what may be concluded from many of them is in the verdict"
    return Table(f"Difference from {baseline}", ["figure", *others], rows, note)


def _labels(found: Evaluation) -> tuple[list[Table], dict[str, float]]:
    """Macro F1 of every candidate, and what the plain one with the most right labels confuses."""
    by_name = {
        name: read_labels((text, q.reference, q.task) for text, q in zip(own.texts, found.questions, strict=True))
        for name, own in found.answers.items()
    }
    first, *others = by_name
    fields = list(by_name[first])
    if not fields:
        return [], {}
    rows: list[list[str | float | None]] = []
    metrics: dict[str, float] = {}
    for field in fields:
        intervals = {name: _macro_f1(own[field]) for name, own in by_name.items()}
        rows.append([field, *map(with_interval, intervals.values())])
        if others:
            changes = (_macro_f1_change(by_name[name][field], by_name[first][field]) for name in others)
            rows.append([f"{field}, less {first}'s", None, *map(with_interval, changes)])
        place = "macro_f1" if field == WHOLE else f"macro_f1/{field}"
        metrics |= {f"{name}/{place}": interval[0] for name, interval in intervals.items()}
    note = (
        "Mean over the labels that are wanted, each with as much weight; 95% intervals over prompts, differences paired"
    )
    shown = _most_right(found, [candidate.name for candidate in found.compared if candidate.is_plain])
    confused = [confusion(f"What {shown} takes for what: {field}", by_name[shown][field]) for field in fields]
    return [Table("Macro F1", ["labels of", *by_name], rows, note), *confused], metrics


def _most_right(found: Evaluation, names: Sequence[str]) -> str:
    """The one with the most right labels; of equals the last."""
    right = {name: mean(found.figures[name]["label_accuracy"]) for name in names}
    return max(reversed(names), key=lambda name: right[name])


def _macro_f1(labels: Labels) -> tuple[float, float, float]:
    return macro_f1_interval(labels.given, labels.wanted)


def _macro_f1_change(labels: Labels, firsts: Labels) -> tuple[float, float, float]:
    return macro_f1_difference(labels.given, firsts.given, labels.wanted)


def _samples(config: Config, found: Evaluation, primary: str | None) -> Samples:
    """The first answers, each with the figure that decides, and with the proxy, which PPO raised and people may not."""
    every = list(found.figures.values())
    wanted = [figure for figure in dict.fromkeys((primary, PROXY)) if any(figure in own for own in every)]
    rows = []
    for i, question in enumerate(found.questions[: config.num_shown]):
        row: dict[str, object] = {
            "prompt": question.text,
            "answers": [found.answers[name].texts[i] for name in found.figures],
            "figures": {figure: [own[figure][i] if figure in own else None for own in every] for figure in wanted},
        }
        if question.reference is not None:
            row["reference"] = str(question.reference)
        rows.append(row)
    note = (
        f"{len(rows)} of {len(found.questions)} held-out prompts; all of them, with every answer and its figures, are "
        f"in {ANSWERS} in the output folder of this stage"
    )
    if primary is not None:
        note += f". Under each answer first {primary}, the figure that decides"
    return Samples("Held-out prompts and answers", list(found.figures), rows, note)


def _aligned(table: Table) -> list[str]:
    """A table as lines for the terminal."""
    cells = [[table.columns[0], *table.columns[1:]], *[[str(cell or "-") for cell in row] for row in table.rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [table.title, *lines]
