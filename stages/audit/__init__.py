"""What is wrong with data, before anything is trained on it: rows of any kind -> findings, and the rows again."""

from pipeline.contract import Context, Result
from stages.audit.config import Config

__all__ = ["Config", "run"]


def run(config: Config, context: Context) -> Result:
    """Run the stage; see stages/audit/audit.py."""
    from stages.audit.audit import run as audit

    return audit(config, context)
