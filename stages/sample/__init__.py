"""A policy's own answers, ranked by a reward model: policy + reward + prompts -> comparisons."""

from pipeline.contract import Context, Result
from stages.sample.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/sample/sample.py."""
    from stages.sample.sample import run as sample

    return sample(config, context)
