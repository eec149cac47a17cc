"""Candidates side by side on held-out prompts."""

from pipeline.contract import Context, Result
from stages.evaluate.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/evaluate/evaluate.py."""
    from stages.evaluate.evaluate import run as evaluate

    return evaluate(config, context)
