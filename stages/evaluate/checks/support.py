"""Whether the prompt's documents hold what an answer says, as far as its words tell.

This is the share of the answer's words that occur in the documents (K-precision, Adlakha et al. 2023, "Evaluating
Correctness and Faithfulness of Instruction-Following Models for Question Answering"), without English function words.
It sees an invented name or number. It does not see a meaning: a "not" left out, two names that changed places, or
something said of the wrong thing cost nothing, and a true paraphrase in other words costs all. A person or a judge
decides whether an answer is faithful; this figure says where to look, and compares candidates on the same prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

WORD = re.compile(r"\w+(?:[.,]\d+)*")  # 1,234.5 is one word
FUNCTION_WORDS = frozenset(
    """a an the and or but nor so if then than that this these those there here it its he she they them his her their we
    you your i me my our us who whom whose which what when where why how is are was were be been being am do does did
    has have had having will would can could shall should may might must not no yes of in on at by for with about
    against between into through during before after above below to from up down out off over under as also both each
    other such only own same very just s t""".split()  # noqa: SIM905 (a list of texts would fill a screen)
)


def check_support(text: str, documents: Any) -> dict[str, float]:
    """`supported`: the share of the answer's content words that the documents hold; 0 for an answer without any.

    Empty where the prompt has no documents.
    """
    known = {word for document in passages(documents) for word in content_words(document)}
    if not known:
        return {}
    said = content_words(text)
    return {"supported": sum(word in known for word in said) / len(said) if said else 0.0}


def passages(documents: Any) -> list[str]:
    """The texts in it: one, several, or objects that hold some under any name, such as title and text."""
    if isinstance(documents, str):
        return [documents]
    if isinstance(documents, Mapping):
        documents = list(documents.values())
    return [text for held in documents or () for text in passages(held)] if isinstance(documents, (list, tuple)) else []


def content_words(text: str) -> list[str]:
    """Words and numbers in lower case, without English function words."""
    return [word for word in WORD.findall(text.lower()) if word not in FUNCTION_WORDS]
