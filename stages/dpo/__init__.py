"""Direct preference optimisation: policy + comparisons -> policy."""

from pipeline.contract import Context, Result
from stages.dpo.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/dpo/train.py."""
    from stages.dpo.train import run as train

    return train(config, context)
