"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe file, for example recipes/quickstart.yaml.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: ppo.kl_coef=0.1.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", file_okay=False, help="Where run folders live.")]
RUNS = Path("runs")
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and everything the libraries print.")]
