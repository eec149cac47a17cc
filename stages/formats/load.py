"""A recipe's data source -> records of the kind a stage reads, on one side of the split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import DataError, first_line, nearest
from stages.formats.files import SUFFIXES, WHOLE, OnBad, Rows, expand, name_in, raise_it, read_rows
from stages.formats.records import Comparison, Document, Instruction, Prompt, Record, Text
from stages.formats.registry import candidates, find, named, records
from stages.formats.split import in_part, is_heldout

if TYPE_CHECKING:
    from pipeline.contract import DataSource, Source

Kind = Literal["instruction", "instruction or text", "comparison", "prompt", "document"]
Side = Literal["train", "heldout", "all"]
LOOKED_AT = 20  # rows of each file by which its format is told
CONVERSIONS = {
    ("instruction", "prompt"),
    ("comparison", "prompt"),
    ("comparison", "instruction"),
    ("text", "document"),
    *((kind, "instruction or text") for kind in ("instruction", "comparison", "text", "document")),
}


@dataclass(frozen=True)
class Loaded:
    """Records in the order of the files, and every row left out as bad with its place and the reason."""

    records: tuple[Any, ...]
    skipped: tuple[tuple[str, str], ...]
    format: str
    files: tuple[str, ...]


@dataclass
class Log:
    """What is said of a reading beside its records; filled while it goes on."""

    formats: dict[str, str] = field(default_factory=dict)  # file -> format
    skipped: list[tuple[str, str]] = field(default_factory=list)  # place and reason of each bad row
    counts: Counter[str] = field(default_factory=Counter)

    def skip(self, error: DataError) -> None:
        """Take note of a bad row."""
        self.skipped.append((error.where, error.problem))


def load(source: Source, kind: Kind, side: Side) -> Loaded:
    """Read `source` as records of `kind`; the source's own `split` overrides `side`.

    DataError for a row that breaks a rule (unless `on_bad_row` is skip), for a file that holds another kind
    of record, and where nothing is left. Reading ends once `limit` rows are found.
    """
    log = Log()
    found = tuple(iter_records(source, kind, side, log))
    if not found:
        raise _nothing_left(source, source.config.split or side, log)
    return Loaded(found, tuple(log.skipped), next(iter(log.formats.values())), tuple(log.formats))


def iter_records(source: Source, kind: Kind, side: Side, log: Log | None = None) -> Iterator[Record]:
    """The records that `load` gives, one after the other, without holding them; `log` takes what else it would say.

    The same errors, as the reading comes upon them; that nothing is left is for the caller to see.
    """
    log = Log() if log is None else log
    for record, row in islice(_wanted(source, kind, source.config.split or side, log), source.config.limit):
        yield _as_kind(record, kind, row)


def _wanted(source: Source, kind: Kind, side: Side, log: Log) -> Iterator[tuple[Record, dict[str, Any]]]:
    config = source.config
    on_bad: OnBad = log.skip if config.on_bad_row == "skip" else raise_it
    for place, rows in _tables(config, on_bad):
        name, rows = _with_format(config, place, rows)
        check_kind(place, name, kind)
        log.formats[place] = name
        check_one_format(config.path, log.formats)
        for record, row in _records(place, name, rows, on_bad):
            log.counts["records"] += 1
            if _is_wanted(source, record.split_key, side, log.counts):
                yield record, row


def examine(
    source: Source, on_bad: OnBad, is_wanted: Callable[[str, int], bool] | None = None, log: Log | None = None
) -> Iterator[tuple[str, int, dict[str, Any], Record]]:
    """Every record of a source, whatever its kind, with its file, its row's number and the row.

    Bad rows, and files that cannot be read, go to `on_bad`. A row that is not wanted is passed over unread. `log`
    takes the files' formats, for `check_kind` and `check_one_format`, which are the caller's to call.
    """
    log = Log() if log is None else log
    config = source.config.model_copy(update={"on_bad_row": "skip"})
    try:
        for place, rows in _tables(config, on_bad):
            try:
                name, rows = _with_format(config, place, rows)
                log.formats[place] = name
                if is_wanted is not None:
                    rows = ((number, row) for number, row in rows if is_wanted(place, number))
                for number, record, row in _numbered(place, name, rows, on_bad):
                    yield place, number, row, record
            except DataError as error:
                on_bad(error)
    except DataError as error:
        on_bad(error)


def is_hub_id(path: str) -> bool:
    """Whether `path`, which is no file here, looks like owner/name; data/x does not where a folder data exists."""
    if Path(path).exists() or path.lower().endswith(SUFFIXES):
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path)) and not Path(path).parent.is_dir()


def _tables(config: DataSource, on_bad: OnBad) -> Iterator[tuple[str, Rows]]:
    if is_hub_id(config.path):
        place = f"{config.path}[{config.hub_split}]"
        yield place, _mapped(_hub_rows(config), config.map, place, on_bad)
        return
    for file in expand(config.path):
        rows = read_rows(file, on_bad, config.table, name=name_in(config.path, file))
        yield str(file), _mapped(rows, config.map, str(file), on_bad)


def _hub_rows(config: DataSource) -> Rows:
    import datasets

    try:
        chosen = {"name": config.table} if config.table else {}
        table = datasets.load_dataset(config.path, split=config.hub_split, revision=config.revision, **chosen)
    except FileNotFoundError as error:
        raise DataError(
            f"no such file here, and no such data set on the hub ({_first_line(error)})",
            where=config.path,
            remedy="check the name; a private data set needs `hf auth login`",
        ) from error
    except OSError as error:
        raise DataError(
            f"the hub cannot be reached ({_first_line(error)})",
            where=config.path,
            remedy="check the network, or download the data set and give the path of its files",
        ) from error
    except Exception as error:  # the library's own errors have no common base
        raise DataError(
            f"the hub's data set cannot be read ({_first_line(error)})",
            where=config.path,
            remedy="check hub_split and revision, or download its files and give their path",
        ) from error
    yield from enumerate(map(dict, table), start=1)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _mapped(rows: Rows, mapping: Mapping[str, str], place: str, on_bad: OnBad) -> Rows:
    """Rows under our column names; a mapped column wins over one that has that name already.

    DataError for a column that none of the first rows has; a single row without it goes to `on_bad`.
    """
    if not mapping:
        yield from rows
        return
    head = list(islice(rows, LOOKED_AT))
    known = dict.fromkeys(str(key) for _, row in head for key in row)
    if head and (absent := [column for column in mapping.values() if column not in known]):
        raise DataError(
            f"no column '{absent[0]}', which `map` names; the first rows have {', '.join(known) or 'none'}",
            where=place,
            remedy=nearest(absent[0], known),
        )
    for number, row in chain(head, rows):
        missing = [column for column in mapping.values() if column not in row]
        if missing:
            on_bad(
                DataError(
                    f"no column '{missing[0]}', which `map` names; the row has {', '.join(map(str, row))}",
                    where=f"{place}:row {number}",
                    remedy=nearest(missing[0], map(str, row)),
                )
            )
            continue
        rest = {key: value for key, value in row.items() if key not in mapping.values()}
        yield number, rest | {ours: row[column] for ours, column in mapping.items()}


def _with_format(config: DataSource, place: str, rows: Rows) -> tuple[str, Rows]:
    """The format's name, named by the recipe or told by the first rows, and all rows."""
    if config.format:
        return named(config.format).NAME, rows
    head = list(islice(rows, LOOKED_AT))
    looked_at = [row for _, row in head]
    if config.on_bad_row == "skip":
        looked_at = _majority(looked_at)
    try:
        return find(looked_at), chain(head, rows)
    except DataError as error:
        raise DataError(error.problem, where=place, remedy=error.remedy) from error


def _majority(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that fit the commonest format; the others will be skipped, each with its own reason."""
    fits = [tuple(candidates(row)) for row in rows]
    common = Counter(names for names in fits if names).most_common(1)
    return [row for row, names in zip(rows, fits, strict=True) if names == common[0][0]] if common else rows


def check_one_format(path: str, formats: Mapping[str, str]) -> None:
    """DataError where a source's files, each with the name of its format, are in several."""
    if len(set(formats.values())) > 1:
        raise DataError(
            f"its files are in several formats: {', '.join(sorted(set(formats.values())))}",
            where=path,
            remedy="make a source of each format, and name all of them where you use them",
        )


def check_kind(place: str, name: str, kind: str) -> None:
    """DataError where the format called `name`, that of the file at `place`, gives no records of `kind`."""
    held = named(name).KINDS
    if "unpaired" in held:
        raise DataError(
            "holds unpaired feedback (KTO), and no KTO objective exists yet",
            where=place,
            remedy="use data with two or more answers to a prompt",
        )
    if kind not in held and not any((one, kind) in CONVERSIONS for one in held):
        raise DataError(
            f"holds {held[0]} records (format '{name}'); {kind} records are needed here",
            where=place,
            remedy=f"give a source that holds {kind} records, or name its format under `format`",
        )


def _records(place: str, name: str, rows: Rows, on_bad: OnBad) -> Iterator[tuple[Record, dict[str, Any]]]:
    return ((record, row) for _, record, row in _numbered(place, name, rows, on_bad))


def _numbered(place: str, name: str, rows: Rows, on_bad: OnBad) -> Iterator[tuple[int, Record, dict[str, Any]]]:
    for number, row in rows:
        try:
            made = records(name, row)
        except DataError as error:
            on_bad(DataError(error.problem, where=f"{place}:row {number}: {error.where}", remedy=error.remedy))
            continue
        for record in made:
            yield number, record, row


def _is_wanted(source: Source, key: str, side: Side, counts: Counter[str]) -> bool:
    if side != "all" and is_heldout(key, source.heldout_fraction, source.salt) != (side == "heldout"):
        counts["other side"] += 1
        return False
    if source.config.part and not in_part(key, source.config.part, source.salt):
        counts["other part"] += 1
        return False
    return True


def _as_kind(record: Record, kind: Kind, row: Mapping[str, Any]) -> Record:
    """The record itself, or what it says about the kind that is wanted."""
    if record.kind == kind or (kind == "instruction or text" and isinstance(record, (Instruction, Text))):
        return record
    if isinstance(record, Instruction):
        return Prompt(record.id, record.messages[:-1], record.reference, row.get("documents"))
    if isinstance(record, Text):
        return Document(record.id, record.text)
    assert isinstance(record, Comparison), f"no conversion of {record.kind} to {kind}"
    if kind == "prompt":
        return Prompt(record.id, record.prompt, row.get("reference"), row.get("documents"))
    return Instruction(record.id, (*record.prompt, {"role": "assistant", "content": best(record)}))


def best(record: Comparison) -> str:
    """The completion with the lowest mean rank among those ranked; the first of several."""
    by_completion = zip(*(ranking.ranks for ranking in record.rankings), strict=True)
    given = [[rank for rank in ranks if rank is not None] for ranks in by_completion]
    means = [fmean(ranks) if ranks else float("inf") for ranks in given]
    return record.completions[means.index(min(means))]


def _nothing_left(source: Source, side: Side, log: Log) -> DataError:
    config, counts = source.config, log.counts
    problem = f"no rows left on side '{side}': {counts['records']} good ones, {counts['other side']} on the other side"
    if config.part:
        problem += f", {counts['other part']} outside part {config.part}"
    if log.skipped:
        problem += f"; {len(log.skipped)} bad rows skipped"
    return DataError(
        problem,
        where=config.path,
        remedy="add rows"
        + (" (of a text file all is one row: divide it)" if config.path.endswith(WHOLE) else "")
        + ", set `split: all` on this source, or change "
        f"heldout_fraction (now {source.heldout_fraction:g})",
    )
