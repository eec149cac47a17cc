"""What somebody who reads the verdict must know of how it was come by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from stages.evaluate.answers import Figures

MOST = 0.5  # of a candidate's answers


def cautions(
    figures: Mapping[str, Figures], tuned: Sequence[str], left_out: Sequence[str], max_new_tokens: int
) -> list[str]:
    """Sentences: whose answers were cut off, and who or what is left out, and why.

    That untuned ones do not end is what tuning may be there to mend: theirs count only where nobody is tuned.
    """
    said = []
    cut = [name for name in tuned or figures if _share_ended(figures[name]) < MOST]
    if cut:
        said.append(
            f"Most answers of {', '.join(cut)} were cut off at {max_new_tokens} tokens and judged as they stood: raise "
            "max_new_tokens before you believe the figures."
        )
    if left_out:
        said.append(
            f"This is not the whole evaluation: {'; '.join(left_out)}. Mend that, and run it anew: --force evaluate."
        )
    return said


def _share_ended(figures: Figures) -> float:
    return fmean(value for value in figures["ended"] if value is not None)
