"""Candidates on the tasks of lm-eval (EleutherAI's lm-evaluation-harness)."""

from pipeline.contract import Context, Result
from stages.harness.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/harness/harness.py."""
    from stages.harness.harness import run as harness

    return harness(config, context)
