"""What the audit finds of defects that were planted in known places: recall by defect, and false alarms.

    python bench/dirty.py DATA           prints the tables of stages/audit/README.md

DATA holds `dirty/` with its `manifest.json`: `defects` of file, row, defect and related_rows; leaks also name
`train_file` and `train_row`. A defect counts as found where a finding of a check that is meant for it, of whatever
severity, names its row.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.contract import DataSource, Source
from stages.audit.audit import audit
from stages.audit.seen import Settings

MEANT = {  # the checks that are meant for a defect
    "invalid_json": {"unreadable"},
    "broken_utf8": {"unreadable"},
    "blank_line": {"blank_line"},
    "missing_field": {"schema"},
    "wrong_type": {"schema", "comparison_says_little"},  # a rank of null is allowed here: it means not ranked
    "bad_role": {"schema"},
    "no_assistant_turn": {"schema"},
    "roles_do_not_alternate": {"schema"},
    "empty_completion": {"schema"},
    "empty_prompt": {"schema"},
    "identical_pair": {"schema"},
    "single_completion": {"schema"},
    "length_mismatch": {"schema"},
    "rank_out_of_range": {"schema"},
    "same_text_different_rank": {"schema"},
    "very_long_row": {"schema", "very_long"},
    "all_tied": {"comparison_says_little"},
    "mojibake": {"damaged_characters"},
    "exact_duplicate": {"exact_duplicate"},
    "near_duplicate": {"near_duplicate"},
    "contradictory_answer": {"contradiction"},
    "contradictory_ranking": {"contradiction", "opposite_ranking"},
    "reversed_duplicate": {"contradiction"},
    "preference_cycle": {"preference_cycle"},
    "train_test_leak": {"leak", "near_leak"},
}
AUDITED = {  # each file with the test set that it is held against
    "sft_dirty_messages.jsonl": "sft_dirty_messages_test.jsonl",
    "prefs_dirty_pairs.jsonl": "prefs_dirty_pairs_test.jsonl",
    "ranked_dirty.jsonl": None,
}
CLEAN = (
    "sft/alpaca_en.json", "sft/alpaca_zh.json", "sft/sharegpt_identity.json", "sft/sharegpt_toolcall.json",
    "sft/oasst_messages.parquet", "preference/hh_harmless.jsonl.gz", "preference/oasst_ranked.jsonl.gz",
    "preference/alpacaeval_ranked.jsonl.gz", "preference/dpo_sharegpt_en.json", "ifeval/ifeval_prompts.jsonl",
)  # fmt: skip
HELPDESK = tuple(f"data/helpdesk/{name}.jsonl" for name in ("instructions", "comparisons", "prompts"))


def findings(file: Path, against: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """The number of rows, refused ones too, and every finding; lengths in tokens are not looked at."""
    given = [(file, False), *([(against, True)] if against else [])]
    sources = [(Source(path.name, DataSource(path=str(path), split="all")), is_against) for path, is_against in given]
    with tempfile.TemporaryDirectory() as folder:
        audited = audit(sources, Settings({}), Path(folder), skip=["languages", "token_lengths"], say=lambda line: None)
        found = [json.loads(line) for line in audited.ledger.path.read_text("utf-8").splitlines()]
    return audited.num_rows + audited.num_refused, found


def recall(folder: Path) -> tuple[dict[str, list[bool]], list[str], dict[str, list[str]]]:
    """By defect whether each was found; what was missed; by file the other rows with an error or a warning, and why."""
    defects = json.loads((folder / "manifest.json").read_text("utf-8"))["defects"]
    by_defect: dict[str, list[bool]] = defaultdict(list)
    missed: list[str] = []
    alarms: dict[str, list[str]] = {}
    for name, test in AUDITED.items():
        _, found = findings(folder / name, folder / test if test else None)
        for defect in (d for d in defects if d["file"] in (name, test)):
            hit = any(f["check"] in MEANT[defect["defect"]] and _names(f, defect) for f in found)
            by_defect[defect["defect"]].append(hit)
            missed += [] if hit else [f"{defect['file']}:{defect['row']} {defect['defect']} ({defect['detail']})"]
        alarms[name] = _alarms(name, found, defects)
    return dict(by_defect), missed, alarms


def _names(finding: Mapping[str, Any], defect: Mapping[str, Any]) -> bool:
    """The row of the defect; of a leak, the row of the test set, which the finding in the training row relates to."""
    if defect["defect"] == "train_test_leak":
        pairs = {(Path(row["file"]).name, row["row"]) for row in finding["related_rows"]}
        return finding["row"] == defect["train_row"] and (defect["file"], defect["row"]) in pairs
    return bool(finding["row"] == defect["row"] and Path(finding["file"]).name == defect["file"])


def _alarms(name: str, found: Sequence[Mapping[str, Any]], defects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows without a defect, each once by check, that an error or a warning names."""
    known = {d["row"] for d in defects if d["file"] == name}
    known |= {d["train_row"] for d in defects if d.get("train_file") == name}
    rows = {(f["row"], f["check"]) for f in found if f["severity"] != "note" and f["row"] and f["row"] not in known}
    return [f"{check} at {row}" for row, check in sorted(rows)]


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def main() -> None:
    data = Path(sys.argv[1])
    by_defect, missed, alarms = recall(data / "dirty")
    rows = [[name, len(hits), sum(hits), ", ".join(sorted(MEANT[name]))] for name, hits in sorted(by_defect.items())]
    every = [hit for hits in by_defect.values() for hit in hits]
    print("\n".join(table(["defect", "planted", "found", "by"], [*rows, ["all", len(every), sum(every), ""]])))
    print("\nmissed:", "; ".join(missed) or "none")
    for name, told in alarms.items():
        print(f"other rows of {name} with an error or a warning: {len(told)}: {', '.join(told)}")
    rows = []
    for file in [*(data / name for name in CLEAN), *map(Path, HELPDESK)]:
        count, found = findings(file)
        flagged = {f["row"] for f in found if f["severity"] != "note" and f["row"]}
        kinds = Counter(
            check for _, check in {(f["row"], f["check"]) for f in found if f["severity"] != "note" and f["row"]}
        )
        rows.append([file.name, count, f"{len(flagged)} ({len(flagged) / count:.1%})",
                     ", ".join(f"{name} {number}" for name, number in kinds.most_common())])  # fmt: skip
    print("\n" + "\n".join(table(["file", "rows", "with an error or a warning", "checks"], rows)))


if __name__ == "__main__":
    main()
