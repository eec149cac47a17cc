"""Kind `toy-batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.contract import ROWS, Input, Role, Unhashed
from toy.config import ToyConfig, estimate

__all__ = ["Config", "estimate"]


class Config(ToyConfig):
    """It waits until so many rows have come back."""

    produces: ClassVar[Role] = "batch"
    policy: Annotated[str, Input(role="policy")] = "base"
    min_rows: Annotated[int, Unhashed()] = 1

    def missing(self, output: Path, returned: Path) -> str:
        rows = returned / ROWS["batch"]
        count = len(rows.read_text("utf-8").splitlines()) if rows.exists() else 0
        return "" if count >= self.min_rows else f"{count} of {self.min_rows} rows are back"
