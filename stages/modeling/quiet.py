"""For a command that loads a model in front of a person: what libraries say of it would stand between our lines."""

from __future__ import annotations

import logging
import warnings


def quieten() -> None:
    """No progress bars of loading, no remarks and no warnings of transformers in this process."""
    from transformers.utils import logging as theirs

    logging.getLogger("transformers").setLevel(logging.ERROR)
    theirs.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
