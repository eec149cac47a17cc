"""Kind `toy-rm`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pipeline.contract import Input, Role
from toy.config import ToyConfig, estimate

__all__ = ["Config", "estimate"]


class Config(ToyConfig):
    """A reward model from a policy."""

    produces: ClassVar[Role] = "reward"
    policy: Annotated[str, Input(role="policy")] = "base"
