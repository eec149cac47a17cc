"""Kind `toy-rows`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pipeline.contract import Input, Role
from toy.config import ToyConfig, estimate

__all__ = ["Config", "estimate"]


class Config(ToyConfig):
    """It writes as many rows as it has steps."""

    produces: ClassVar[Role] = "comparisons"
    policy: Annotated[str, Input(role="policy")] = "base"
