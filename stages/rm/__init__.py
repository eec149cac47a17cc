"""A reward model from ranked completions: policy + comparisons -> reward."""

from pipeline.contract import Context, Result
from stages.rm.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/rm/train.py."""
    from stages.rm.train import run as train

    return train(config, context)
