"""IFEval's rules (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models"), as lm-eval has them.

A prompt's reference names its rules: {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}. They need
`pip install posttune[lm-eval]`, and two of them nltk's punkt_tab, which lm-eval fetches from the network when it is
first imported. Where it cannot, those two are left out and told of, and nothing else changes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.util import find_spec
from io import StringIO
from typing import Any

from pipeline.errors import RecipeError, first_line, nearest

PACKAGES = ("lm_eval", "langdetect", "immutabledict", "nltk")
PUNKT = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
NO_PUNKT = "nltk's punkt_tab is missing: python -m nltk.downloader punkt_tab"


def check_instructions(text: str, reference: Any) -> dict[str, float]:
    """`instructions_followed`, the share of the prompt's rules that are followed; `all_instructions_followed`.

    Both are strict: the answer as it stands. IFEval's own instruction-level accuracy counts each rule of all prompts
    once; the mean of the first figure counts each prompt once. `all_instructions_followed` is its prompt-level one, and
    is not there for a prompt with a rule that cannot be checked here. Empty where the reference names no rules.
    """
    rules = rules_of(reference)
    checked = [(name, given) for name, given in rules if obstacle(name, given) is None]
    if not checked:
        return {}
    followed = [_follows(text, name, given) for name, given in checked]
    results = {"instructions_followed": sum(followed) / len(followed)}
    if len(checked) == len(rules):
        results["all_instructions_followed"] = float(all(followed))
    return results


def check_installed(place: str) -> None:
    """RecipeError if a package that the rules need is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"'instructions' needs {', '.join(missing)}, not installed here",
            where=place,
            remedy="pip install 'posttune[lm-eval]', or leave the check out",
        )


def rules_of(reference: Any) -> list[tuple[str, str]]:
    """The rules that a reference names, each with its arguments as JSON."""
    if not isinstance(reference, Mapping) or "instruction_id_list" not in reference:
        return []
    names = reference["instruction_id_list"]
    given = reference.get("kwargs") or [{}] * len(names)
    return [(name, json.dumps(arguments or {})) for name, arguments in zip(names, given, strict=True)]


@cache
def obstacle(name: str, arguments: str) -> str | None:
    """Why a rule cannot be checked here; None if it can."""
    known = _rules()
    if name not in known:
        return f"no rule of IFEval has this name; {nearest(name, known)}"
    if name in PUNKT and not _has_punkt():
        return NO_PUNKT
    try:
        known[name](name).build_description(**_arguments(arguments))
    except Exception as error:  # whatever the rule makes of arguments that are not its own
        return f"its kwargs do not fit: {first_line(error)}"
    return None


def _follows(text: str, name: str, arguments: str) -> bool:
    rule = _rules()[name](name)
    rule.build_description(**_arguments(arguments))
    return bool(text.strip()) and bool(rule.check_following(text))


def _arguments(arguments: str) -> dict[str, Any]:
    """A data set in columns holds every rule's arguments in each row, those of other rules as null."""
    return {key: value for key, value in json.loads(arguments).items() if value is not None}


@cache
def _rules() -> Mapping[str, Any]:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it says that punkt_tab came also where it did not
        import langdetect
        from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)  # it logs answers as errors
    langdetect.DetectorFactory.seed = 0  # else it draws anew each time, and tells short texts differently
    return INSTRUCTION_DICT  # type: ignore[no-any-return]


@cache
def _has_punkt() -> bool:
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True
