"""Policies and prompts -> a blind batch of ranking tasks for people."""

from pipeline.contract import Context, Result
from stages.collect.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/collect/collect.py."""
    from stages.collect.collect import run as collect

    return collect(config, context)
