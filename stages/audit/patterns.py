"""What a pattern finds in a text: personal data, secrets, placeholders, attacks on a judge, template tokens.

Each check looks at one row and yields what it found; most rows are dismissed by a search for plain pieces. Patterns
know forms, not meanings. They miss names, street addresses, secrets of unknown form and whatever is spelt out, and
they take an example for the real thing. A row without a finding is not shown to be free of personal data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.audit.ledger import Severity
from stages.audit.rows import Row

Flaw = tuple[Severity, str, str]  # severity, field, message

EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
EXAMPLE = re.compile(r"@(?:\w+\.)*(?:example|test|invalid|localhost|domain|email|company|yourcompany)\b", re.IGNORECASE)
NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte <= 57)
MIN_DIGITS = 9  # of the shortest number that is looked for
CARD = re.compile(
    r"(?<![\d.])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{5})(?!\.?\d)(?! ?[-+*/=^] ?\d)"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
PHONE = re.compile(
    r"(?<![\w.])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}|\(?\d{3}\)?[ .-]\d{3}[.-]\d{4})(?!\w)"
)
SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
SECRET_HINTS = (
    "sk-", "ghp_", "gho_", "github_pat_", "glpat-", "AKIA", "ASIA", "xox", "AIza", "hf_", "eyJ", "-----BEGIN", "SG.",
    "npm_", "://",
)  # fmt: skip
SECRETS = {
    "an API key": re.compile(r"\bsk-(?:[A-Za-z]+-)*[A-Za-z0-9_]{20,}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,})\b"),
    "a GitLab token": re.compile(r"\bglpat-[\w-]{20,}"),
    "an AWS key id": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a Slack token": re.compile(r"\bxox[abprs]-[\w-]{10,}"),
    "a Google key": re.compile(r"\bAIza[\w-]{35}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a SendGrid key": re.compile(r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    "an npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a signed token (JWT)": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/:@]{3,64}@[\w.-]+"),
}
BRACED = re.compile(r"\{\{ ?[A-Za-z_][\w -]{0,40} ?\}\}")
BRACKETED = re.compile(
    r"\[(?:(?i:your|insert|enter|add|company|customer|recipient|client|user|author|date|name|title|address|phone|email)"
    r"\b[^\]\n(){}=;]{0,40}|[A-Z]{2,}(?:[ _][A-Z]{2,}){1,4})\](?!\()"
)
ANGLED = re.compile(r"<(?:your|insert|enter)[ _-][\w -]{1,40}>", re.IGNORECASE)
FILLER = re.compile(r"[Ll]orem ipsum|\bTODO: |\bTBD\b|\bXXX{3,}\b")
PLACEHOLDER_HINTS = ("{{", "[", "<", "orem ipsum", "TODO", "TBD", "XXXX")
ATTACKS = re.compile(
    r"(?:ignore|disregard|forget|override) (?:all |any |the |your |of |these |my )*(?:previous|prior|above|earlier|"
    r"preceding|foregoing|system)[\w ]{0,20}(?:instruction|prompt|rule|criteri|guideline)"
    r"|(?:rate|score|grade|rank|prefer|choose|select|mark) (?:this|my|the following) "
    r"(?:response|answer|completion|output|text)[\w ]{0,20}(?:highest|best|perfect|maximum)"
    r"|(?:give|assign) (?:this|me|it|my (?:response|answer))[\w ]{0,20}(?:highest|perfect|maximum) "
    r"(?:score|rating|mark|grade)"
    r"|(?:note|message|instruction|attention|dear)s?(?: to| for)?(?: the| any| all)? "
    r"(?:judge|grader|evaluator|annotator|rater|reviewer|reward model)s?\s?[:,!]"
    r"|\[\[(?:[ab]|rating: ?10|10)\]\]"
    r"|this (?:response|answer|completion) (?:is|deserves|should (?:be|receive|get))[\w ]{0,15}"
    r"(?:rated|scored|ranked|graded|the (?:highest|top|maximum) (?:score|rating|rank))"
)
ATTACK_HINTS = (
    "ignore", "disregard", "forget", "override", "[[", "highest", "perfect", "maximum", "best", "judge", "grader",
    "evaluator", "annotator", "rater", "reviewer", "reward model", "this response", "this answer", "this completion",
)  # fmt: skip
TOKENS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|end_of_text|user|assistant|"
    r"system|end)\|>|</s>|<start_of_turn>|<end_of_turn>|<eos>|<bos>|\[/?INST\]|<<SYS>>"
)
TOKEN_HINTS = ("<|", "</s>", "_of_turn>", "os>", "INST]", "<<SYS")
TURNS = re.compile(
    r"\n\n(?:Human|Assistant): |\n### ?(?:Instruction|Response|Human|Assistant|User)\b"
    r"|\"\}\s*\n?\s*\{\"(?:messages|prompt|instruction)"
)


def personal_data(row: Row) -> Iterator[Flaw]:
    """E-mail addresses, telephone numbers, card numbers with a right check digit, IBANs, US social security numbers."""
    text = row.text
    has_email, has_digits = "@" in text, len(text.encode().translate(None, NO_DIGITS)) >= MIN_DIGITS
    if not (has_email or has_digits):
        return
    for field, held in row.fields:
        kinds = []
        if has_email and any(not EXAMPLE.search(found) for found in EMAIL.findall(held)):
            kinds.append("an e-mail address")
        if has_digits:
            kinds += ["a payment card number"] * any(_luhn(found[0]) for found in CARD.finditer(held))
            kinds += ["an IBAN"] * any(_iban(found) for found in IBAN.findall(held))
            kinds += ["a telephone number"] * bool(PHONE.search(held))
            kinds += ["a US social security number"] * bool(SSN.search(held))
        if kinds:
            yield "warning", field, f"holds what looks like {' and '.join(kinds)}"


def secrets(row: Row) -> Iterator[Flaw]:
    """Keys and tokens whose form gives them away. The finding does not repeat them."""
    if not _holds_one(row.text, SECRET_HINTS):
        return
    for field, held in row.fields:
        for name, pattern in SECRETS.items():
            if pattern.search(held):
                yield "warning", field, f"holds what looks like {name}"


def placeholders(row: Row) -> Iterator[Flaw]:
    """Blanks that somebody forgot to fill in. Only answers count: a prompt may well ask to fill one in."""
    if not _holds_one(row.text, PLACEHOLDER_HINTS):
        return
    for field, held in row.answers or ([] if row.prompt else row.fields):
        found = BRACED.search(held) or BRACKETED.search(held) or ANGLED.search(held)
        if found:
            yield "warning", field, f"holds a placeholder: {found[0][:60]}"
        elif found := FILLER.search(held):
            yield "warning", field, f"holds filler text: {found[0]}"


def judge_attacks(row: Row) -> Iterator[Flaw]:
    """Answers that speak to whoever rates them, or try to undo their instructions."""
    for field, held in row.answers:
        lower = held.lower()
        if _holds_one(lower, ATTACK_HINTS) and (found := ATTACKS.search(lower)):
            yield "warning", field, f"may be meant for a judge, not a reader: {found[0][:80]!r}"


def template_tokens(row: Row) -> Iterator[Flaw]:
    """Text that a tokenizer may read as a special token: it would end a turn, or begin one, inside an answer."""
    if _holds_one(row.text, TOKEN_HINTS):
        for field, held in row.fields:
            if found := TOKENS.search(held):
                yield "warning", field, f"holds a token of chat templates: {found[0]}"


def joined_rows(row: Row) -> Iterator[Flaw]:
    """An answer that goes on with another speaker's turn: rows, or turns, that were joined by mistake."""
    for field, held in row.answers:
        if "\n" in held and (found := TURNS.search(held)):
            yield "warning", field, f"another turn begins inside: {found[0].strip()!r}"


def _holds_one(text: str, hints: tuple[str, ...]) -> bool:
    """A plain loop: a generator in `any` costs more than the searches."""
    for hint in hints:  # noqa: SIM110
        if hint in text:
            return True
    return False


def _luhn(found: str) -> bool:
    """The check digit of payment cards, and a first digit that the networks use."""
    digits = [int(char) for char in found if char.isdigit()]
    if digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) < 4:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(found: str) -> bool:
    """The check digits of ISO 13616."""
    plain = found.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1
