"""What people do between an export and an import: they fill in a file with a spreadsheet, and send it back."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from made_up_batch import made_up_batch
from openpyxl import load_workbook

from stages.annotation.batch import Batch, write_batch
from stages.exchange.sheet_csv import export as export_csv
from stages.exchange.tools import ExportOptions, ReadOptions
from stages.exchange.xlsx import export as export_xlsx
from stages.returns.take import Report, TakeOptions, take

Typed = Mapping[str, object]  # completion id -> what was typed into its rank cell
ORDERS = {"annotator": "who", "task_id": "task", "ranking": "order", "submitted_at": "at"}
LONG_MAP = {"annotator": "annotator", "task_id": "task_id", "completion_id": "completion_id", "rank": "rank"}


class Office:
    """A published batch, its answers' folder, and somebody who fills in files."""

    def __init__(self, folder: Path, batch: Batch | None = None) -> None:
        self.folder, self.batch = folder, batch or made_up_batch()
        self.published, self.answers = folder / "batch", folder / "answers"
        self.published.mkdir(parents=True)
        write_batch(self.published, self.batch)

    def take(self, *files: Path, **options: object) -> Report:
        return take(self.published, self.answers, files, TakeOptions(**options))  # type: ignore[arg-type]

    def csv_rows(self, annotator: str = "ann1") -> list[list[str]]:
        """The rows of the annotator's CSV file, the header first."""
        (path,) = export_csv(self.batch, self.folder / "out", ExportOptions([annotator]))
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))

    def filled_csv(self, typed: Typed, name: str = "back.csv", annotator: str = "ann1") -> Path:
        rows = self.csv_rows(annotator)
        for row in rows[1:]:
            row[4] = str(typed.get(row[8], ""))
        return self.write(rows, name)

    def write(self, rows: Iterable[Sequence[object]], name: str = "back.csv", encoding: str = "utf-8",
              delimiter: str = ",") -> Path:  # fmt: skip
        path = self.folder / name
        with path.open("w", encoding=encoding, newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        return path

    def filled_xlsx(self, typed: Typed, annotator: str = "ann1", edit: Callable[..., None] | None = None) -> Path:
        """The annotator's workbook opened and saved with openpyxl, as another program than the one that wrote it."""
        (path,) = export_xlsx(self.batch, self.folder / "out", ExportOptions([annotator]))
        book = load_workbook(path)
        sheet = book["Tasks"]
        for row in range(2, sheet.max_row + 1):
            sheet.cell(row, 5, typed.get(sheet.cell(row, 9).value))
        if edit:
            edit(sheet)
        book.save(self.folder / "back.xlsx")
        return self.folder / "back.xlsx"

    def orders(self, name: str, *rows: Sequence[object]) -> tuple[Path, dict[str, object]]:
        """A file of (who, task number, A>B, when), letters in the order of the batch's tasks, and how to read it."""
        made = [(who, self.batch.tasks[task].task_id, order, at) for who, task, order, at in rows]  # type: ignore[index]
        path = self.write([("who", "task", "order", "at"), *made], name)
        return path, {"read": ReadOptions(columns=ORDERS)}


def ranks_of(office: Office, annotator: str = "ann1") -> dict[str, dict[str, int]]:
    """Task id -> ranks, as rankings.jsonl has them."""
    from stages.returns.take import read_answers

    return {one.task_id: dict(one.ranks) for one in read_answers(office.answers) if one.annotator == annotator}
