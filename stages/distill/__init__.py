"""A policy's answers under a system prompt, as rows without it: policy + prompts -> instructions."""

from pipeline.contract import Context, Result
from stages.distill.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/distill/distill.py."""
    from stages.distill.distill import run as distill

    return distill(config, context)
