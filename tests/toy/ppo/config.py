"""Kind `toy-ppo`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.contract import Input, Role
from toy.config import ToyConfig, estimate

__all__ = ["Config", "estimate"]


class Config(ToyConfig):
    """Inputs with both kinds of default."""

    produces: ClassVar[Role] = "policy"
    policy: Annotated[str, Input(role="policy")]
    reference: Annotated[str | None, Input(role="policy", default="policy")] = None
    reward: Annotated[str | None, Input(role="reward", default="only")] = None
    kl_coef: float = Field(0.05, ge=0)
