"""An answer against reference texts: the same, words in common, ROUGE-L, the same number. The best of several counts.

`exact` and `f1` are those of SQuAD's evaluation script (Rajpurkar et al. 2016, v2.0), English articles and all. They
part words at white space, and ROUGE reads a to z and 0 to 9 only: neither says much of an answer in Chinese or Arabic.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

NUMBER = re.compile(r"(?:(?<!\w)[-\u2212])?\d[\d,]*(?:\.\d+)?")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def texts_of(reference: Any) -> list[str]:
    """The references: a text, a list of texts, or a number as text; none for anything else."""
    if isinstance(reference, (list, tuple)):
        return [text for one in reference if not isinstance(one, (list, tuple)) for text in texts_of(one)]
    if isinstance(reference, (int, float)) and not isinstance(reference, bool):
        return [str(reference)]
    return [reference] if isinstance(reference, str) else []


def check_exact(text: str, reference: Any) -> dict[str, float]:
    """`exact`: 1 where both are the same once normalised."""
    return _best("exact", text, reference, lambda given, wanted: float(normalised(given) == normalised(wanted)))


def check_f1(text: str, reference: Any) -> dict[str, float]:
    """`f1`: harmonic mean of the shares of the answer's and of the reference's words that both have."""
    return _best("f1", text, reference, word_f1)


def check_rouge(text: str, reference: Any) -> dict[str, float]:
    """`rouge`: the F measure of the longest common subsequence of words, without stemming (Lin 2004)."""
    return _best("rouge", text, reference, lambda given, wanted: _rouge().score(wanted, given)["rougeL"].fmeasure)


def check_number(text: str, reference: Any) -> dict[str, float]:
    """`number_right`: the last number of the answer is the last one of the reference, thousands' commas apart.

    There GSM8K and most worked answers have their result.
    """
    wanted = [number for one in texts_of(reference) if (number := last_number(one)) is not None]
    return {"number_right": float(last_number(text) in wanted)} if wanted else {}


def last_number(text: str) -> float | None:
    """The last number of a text; None where there is none."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("\u2212", "-")) if found else None


def normalised(text: str) -> str:
    """Lower case, without punctuation and articles, words one space apart."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def word_f1(given: str, wanted: str) -> float:
    """SQuAD's F1 of two texts. Where one is empty once normalised it is 1 if both are, else 0."""
    ours, theirs = normalised(given).split(), normalised(wanted).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def _best(name: str, text: str, reference: Any, compare: Callable[[str, str], float]) -> dict[str, float]:
    scores = [compare(text, wanted) for wanted in texts_of(reference)]
    return {name: max(scores)} if scores else {}


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])
