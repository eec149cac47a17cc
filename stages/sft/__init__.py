"""Supervised fine-tuning on conversations and plain text: base policy + instructions, texts -> policy."""

from pipeline.contract import Context, Result
from stages.sft.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/sft/train.py."""
    from stages.sft.train import run as train

    return train(config, context)
