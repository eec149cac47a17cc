"""A data source -> rows to look at, each a record with its place. All that the audit asks of stages/formats is here."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from pipeline.contract import Source
from pipeline.errors import DataError
from stages.formats.load import Log, check_kind, check_one_format, examine
from stages.formats.records import Comparison, Instruction, Message, Record, Text, Unpaired
from stages.formats.split import in_part, is_heldout

Side = Literal["train", "heldout", "against"]
Spot = tuple[int, str, int]  # which of the sources, a file, and the number of a row in it

PLACE = re.compile(r"(.*):row (\d+)(?:: (.*))?", re.DOTALL)
TYPOGRAPHIC = str.maketrans(
    "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"  # quotes
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2026",  # dashes, and three dots
    "'" * 4 + '"' * 6 + "-" * 7 + ".",
)


@dataclass(frozen=True)
class Refusal:
    """A row that stages/formats refused, or passed over because its line is empty; no row: it concerns the file."""

    source: Source
    file: str
    row: int | None
    field: str
    problem: str
    remedy: str = ""
    check: str = "schema"
    lasts: bool = False  # a cleaned copy would be refused, too


Refused = Callable[[Refusal], None]


@dataclass
class Row:
    """One record of a source, and where it stands. `index` counts the records of all sources from 0."""

    index: int
    turn: int  # of its source among the sources, from 0: two may read one file
    source: Source
    file: str
    number: int
    record: Any  # one of records.Record
    side: Side
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, int]:
        return self.file, self.number

    @cached_property
    def prompt(self) -> list[Message]:
        """What is answered; empty for plain text."""
        if isinstance(self.record, Instruction):
            return list(self.record.messages[:-1])
        return [] if isinstance(self.record, Text) else list(self.record.prompt)

    @cached_property
    def answers(self) -> list[tuple[str, str]]:
        """Each answer with the name of its field."""
        record = self.record
        if isinstance(record, Instruction):
            return [(f"messages[{len(record.messages) - 1}].content", record.messages[-1]["content"])]
        if isinstance(record, Comparison):
            return [(f"completions[{i}]", text) for i, text in enumerate(record.completions)]
        return [("completion", record.completion)] if isinstance(record, Unpaired) else []

    @cached_property
    def fields(self) -> list[tuple[str, str]]:
        """Every text of the record with the name of its field; names are those of the canonical record."""
        if isinstance(self.record, Text):
            return [("text", self.record.text)]
        name = "messages" if isinstance(self.record, Instruction) else "prompt"
        return [(f"{name}[{i}].content", message["content"]) for i, message in enumerate(self.prompt)] + self.answers

    @cached_property
    def text(self) -> str:
        """All texts, a line break between them: for a first look that finds nothing in most rows."""
        return "\n".join(text for _, text in self.fields)

    @cached_property
    def asked(self) -> str:
        """The prompt as text, without the system's turn, which the rows of a source share."""
        return "\n".join(message["content"] for message in self.prompt if message["role"] != "system")

    @cached_property
    def prompt_key(self) -> int:
        """64 bits, equal for prompts that are equal but for case, white space and the style of quotes; 0: no prompt."""
        if not self.prompt:
            return 0
        return key("\x1f".join(f"{message['role']}\x1e{folded(message['content'])}" for message in self.prompt))

    @cached_property
    def content_key(self) -> int:
        """64 bits, equal for equal records in whatever order their completions are listed."""
        record = self.record
        parts = [
            f"{message['role']}\x1e{message['content']}\x1e{message.get('tool_calls', '')}" for message in self.prompt
        ]
        if isinstance(record, Comparison):
            given = [(ranking.annotator, ranking.ranks, ranking.weight) for ranking in record.rankings]
            parts += sorted(
                f"{text}\x1e{[(name, ranks[i], weight) for name, ranks, weight in given]}"
                for i, text in enumerate(record.completions)
            )
        elif isinstance(record, Unpaired):
            parts.append(f"{record.completion}\x1e{record.desirable}")
        elif isinstance(record, Instruction):
            parts.append(f"{record.messages[-1]['content']}\x1e{record.messages[-1].get('tool_calls', '')}")
        else:
            parts.append(str(getattr(record, "text", "")) + str(getattr(record, "reference", "")))
        return key("\x1f".join(parts))

    @cached_property
    def texts_key(self) -> int:
        """64 bits, equal for records that hold equal texts, whoever ranked them and however."""
        if not isinstance(self.record, Comparison):
            return self.content_key
        return key("\x1f".join([message["content"] for message in self.prompt] + sorted(self.record.completions)))


def folded(text: str) -> str:
    """The text in one spelling: compatibility characters, case, quotes, dashes and white space made alike."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(TYPOGRAPHIC)
    return " ".join(text.casefold().split())


def key(text: str) -> int:
    """The first 64 bits of the text's BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def read(
    sources: Sequence[tuple[Source, bool]],
    refused: Refused = lambda refusal: None,
    wanted: Mapping[Spot, int] | None = None,
    kinds: Mapping[str, Collection[str]] | None = None,
) -> Iterator[Row]:
    """The records of all sources in their order; the flag says that a source is one to hold the others against.

    What `split`, `part` and `limit` of a source leave out is left out here, too. With `wanted`, spots and the index
    of their first record, the rows at all other spots are passed over, and nothing is refused again. `kinds` names the
    kinds of records as which a source will be read.
    """
    index = 0
    for turn, (source, is_against) in enumerate(sources):
        numbers, log = _Numbers(), Log()
        kept, before, within = 0, ("", 0), 0
        on_bad = partial(_refuse, source, numbers, refused if wanted is None else _ignore)
        is_wanted = None if wanted is None else partial(_is_wanted, wanted, turn)
        for file, number, raw, record in examine(source, on_bad, is_wanted, log):
            numbers.mark(file, number)
            if not _is_given(source, record):
                continue
            within = within + 1 if before == (file, number) else 0
            before = file, number
            if wanted is not None:
                index = wanted[turn, file, number] + within
            yield Row(
                index, turn, source, file, number, record, "against" if is_against else _side(source, record), raw
            )
            index, kept = index + 1, kept + 1
            if kept == source.config.limit and wanted is None:
                break
        if wanted is None:
            for file, number in numbers.missing():
                refused(Refusal(source, file, number, "", "is an empty line", check="blank_line"))
            for error, lasts in _unfit(source, log, (kinds or {}).get(source.name, ())):
                refused(Refusal(source, error.where, None, "", error.problem, error.remedy, lasts=lasts))


def _is_wanted(wanted: Mapping[Spot, int], turn: int, file: str, number: int) -> bool:
    return (turn, file, number) in wanted


def _unfit(source: Source, log: Log, kinds: Collection[str]) -> Iterator[tuple[DataError, bool]]:
    """What `load` would refuse of the files as a whole: formats that differ, or, and that lasts, another kind."""
    try:
        check_one_format(source.config.path or "", log.formats)
    except DataError as error:
        yield error, False
    for kind in kinds:
        for file, name in log.formats.items():
            try:
                check_kind(file, name, kind)
            except DataError as error:
                yield error, True
                break


def _refuse(source: Source, numbers: _Numbers, refused: Refused, error: DataError) -> None:
    found = PLACE.fullmatch(error.where)
    if not found:
        where = error.where or str(source.config.path)
        return refused(Refusal(source, where, None, "", error.problem, error.remedy, "unreadable_file"))
    numbers.mark(found[1], int(found[2]))
    check = "schema" if found[3] else "unreadable"
    refused(Refusal(source, found[1], int(found[2]), found[3] or "", error.problem, error.remedy, check))


def _ignore(refusal: Refusal) -> None:
    """Used where the rows are read once more."""


class _Numbers:
    """Which row numbers of each file were met: where lines are rows, a gap is an empty line."""

    def __init__(self) -> None:
        self._met: dict[str, bytearray] = {}

    def mark(self, file: str, number: int) -> None:
        met = self._met.setdefault(file, bytearray())
        if number >= len(met):
            met.extend(bytes(max(number + 1, 2 * len(met)) - len(met)))
        met[number] = 1

    def missing(self) -> Iterator[tuple[str, int]]:
        for file, met in self._met.items():
            last = met.rindex(1)
            yield from ((file, number) for number in range(1, last) if not met[number])


def _side(source: Source, record: Record) -> Side:
    """`split: all` takes a source out of the split: it is trained on whole, or is a test set."""
    if source.config.split == "all":
        return "train"
    return "heldout" if is_heldout(record.split_key, source.heldout_fraction, source.salt) else "train"


def _is_given(source: Source, record: Record) -> bool:
    """Whether the record is on the side, and in the part, that the source is set to."""
    config = source.config
    if config.split in ("train", "heldout"):
        heldout = is_heldout(record.split_key, source.heldout_fraction, source.salt)
        if heldout != (config.split == "heldout"):
            return False
    return not config.part or in_part(record.split_key, config.part, source.salt)
