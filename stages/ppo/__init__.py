"""Proximal policy optimisation against a reward model: policy + reward + prompts -> policy."""

from pipeline.contract import Context, Result
from stages.ppo.config import Config, GrpoConfig, RlooConfig

__all__ = ["Config", "GrpoConfig", "RlooConfig", "run"]


def run(config: Config | RlooConfig | GrpoConfig, context: Context) -> Result:
    """Run the stage; see stages/ppo/train.py."""
    from stages.ppo.train import run as train

    return train(config, context)
