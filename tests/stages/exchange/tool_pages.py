"""People at work in each tool: an exported folder and what they think of its tasks become the file the tool writes.

The shapes are those that the real tools were seen to write; `answers` is {(person, task id): {completion id: rank or
None}}, or "skip" in the place of the ranks.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

ENVELOPE = {"ground_truth": False, "draft_created_at": None, "prediction": {}, "import_id": None, "project": 2}


def label_studio_result(data, ranks, buckets):
    """The result items of one annotation, as the page writes them."""
    if "items" in data:
        tiers = {"_": [item["id"] for item in data["items"] if ranks[item["id"]] is None]}
        tiers |= {f"tier_{n}": [name for name, rank in ranks.items() if rank == n] for n in range(1, buckets + 1)}
        value = {"ranker": tiers}
        return [{"value": value, "id": "ttFs2Lh1-g", "from_name": "rank", "to_name": "completions", "type": "ranker",
                 "origin": "manual"}]  # fmt: skip
    left, right = ranks[data["left_id"]], ranks[data["right_id"]]
    side = "left" if left < right else "right"
    chosen = "tie" if left == right else f"{side}_better"
    items = [{"value": {"choices": [chosen]}, "id": "DFi5MUA2SO", "from_name": "strength", "to_name": "prompt",
              "type": "choices", "origin": "manual"}]  # fmt: skip
    if left != right:
        items.append({"value": {"selected": side}, "id": "uhlWR4cec0", "from_name": "preference",
                      "to_name": "preference", "type": "pairwise", "origin": "manual"})  # fmt: skip
    return items


def label_studio(folder: Path, answers, people) -> dict[str, Path]:
    """The JSON export of each exported project; `people` gives the user numbers."""
    written = {}
    for project in sorted(path.parent for path in folder.glob("*/tasks.json")):
        buckets = (project / "config.xml").read_text("utf-8").count("<Bucket")
        rows = []
        for number, task in enumerate(json.loads((project / "tasks.json").read_text("utf-8")), start=1):
            found = [(p, ranks) for (p, task_id), ranks in answers.items() if task_id == task["data"]["task_id"]]
            annotations = [
                {**ENVELOPE, "id": 10 * number + place, "completed_by": people[person], "updated_by": people[person],
                 "result": [] if ranks == "skip" else label_studio_result(task["data"], ranks, buckets),
                 "was_cancelled": ranks == "skip", "lead_time": 12.3, "created_at": "2026-11-23T17:57:52.722714Z",
                 "updated_at": "2026-11-23T17:57:52.722766Z"}
                for place, (person, ranks) in enumerate(found)
            ]  # fmt: skip
            rows.append({"id": number, "data": task["data"], "meta": {}, "annotations": annotations, "drafts": []})
        written[project.name] = folder / f"{project.name}.json"
        written[project.name].write_text(json.dumps(rows), "utf-8")
    return written


def as_json_min(exported: Path) -> Path:
    """The JSON_MIN export of the same project: a row an annotation, items under their tags, skipped ones gone."""
    rows = []
    for task in json.loads(exported.read_text("utf-8")):
        for one in (a for a in task["annotations"] if not a["was_cancelled"]):
            row = {**task["data"], "id": task["id"]}
            for item in one["result"]:
                lone = item["value"].get("choices") or item["value"].get("text")
                row[item["from_name"]] = lone[0] if lone and len(lone) == 1 else lone or [item["value"]]
            rows.append({**row, "annotator": one["completed_by"], "annotation_id": one["id"],
                         "created_at": one["created_at"], "updated_at": one["updated_at"],
                         "lead_time": one["lead_time"]})  # fmt: skip
    path = exported.with_suffix(".min.json")
    path.write_text(json.dumps(rows), "utf-8")
    return path


def as_csv(json_min: Path) -> Path:
    """The CSV export of the same: nested values as JSON text."""
    rows = json.loads(json_min.read_text("utf-8"))
    columns = sorted({name for row in rows for name in row} | {"annotation_id", "annotator", "lead_time"})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()})
    path = json_min.with_suffix(".csv")
    path.write_text(buffer.getvalue(), "utf-8")
    return path


def argilla(folder: Path, answers, people) -> list[Path]:
    """What GET /records?include=responses gives for each dataset; `people` gives the users' ids."""
    written = []
    for path in sorted(folder.glob("k*/records.json")):
        items = []
        for record in json.loads(path.read_text("utf-8")):
            names = record["metadata"]["completion_ids"].split(",")
            responses = []
            for (person, task_id), ranks in answers.items():
                if task_id == record["id"]:
                    ranking = [{"value": f"completion_{n}", "rank": ranks[name]} for n, name in enumerate(names, 1)
                               ] if ranks != "skip" else []  # fmt: skip
                    responses.append({
                        "id": f"r-{len(responses)}", "user_id": people[person], "updated_at": "2026-11-23T18:05:49.4",
                        "status": "discarded" if ranks == "skip" else "submitted",
                        "values": {} if ranks == "skip" else {"ranking": {"value": ranking}},
                    })  # fmt: skip
            items.append({"id": "0eb0", "status": "pending", "fields": record["fields"], "responses": responses,
                          "metadata": record["metadata"], "external_id": record["id"]})  # fmt: skip
        written.append(path.parent / "answers.json")
        written[-1].write_text(json.dumps({"items": items, "total": len(items)}), "utf-8")
    return written


def potato(folder: Path, answers) -> list[Path]:
    """The JSONL of `potato.export` for each folder."""
    written = []
    for path in sorted(folder.glob("k*/tasks.jsonl")):
        tasks = {row["id"]: row["completion_ids"] for row in map(json.loads, path.open("r", encoding="utf-8"))}
        rows = []
        for (person, task_id), ranks in answers.items():
            if task_id in tasks:
                names = tasks[task_id]
                tiers = [[chr(65 + names.index(name)) for name, rank in ranks.items() if rank == n]
                         for n in sorted({rank for rank in ranks.values() if rank})]  # fmt: skip
                order = ",".join("=".join(tier) for tier in tiers)
                labels = {"ranking": {"rank_order": order}} if order else {}
                rows.append({"instance_id": task_id, "user_id": person, "labels": labels, "spans": {}, "links": {}})
        written.append(path.parent / "annotations.jsonl")
        written[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return written


def prodigy(folder: Path, answers) -> list[Path]:
    """What `db-out` gives for each person's file: pairs with an unranked side were passed over."""
    written = []
    for path in sorted(folder.glob("*.jsonl")):
        lines = []
        for number, row in enumerate(map(json.loads, path.open("r", encoding="utf-8"))):
            ranks = answers[row["annotator"], row["task_id"]]
            left, right = (ranks[option["id"]] for option in row["options"][:2])
            side = None if None in (left, right) else 2 if left == right else 0 if left < right else 1
            lines.append({**row, "accept": [] if side is None else [row["options"][side]["id"]],
                          "answer": "ignore" if side is None else "accept", "_input_hash": number, "_task_hash": number,
                          "_session_id": None, "_timestamp": 1795457404 + number})  # fmt: skip
        written.append(path.with_name(f"db-out-{re.sub(r'[^a-z0-9-]', '', path.stem)}.out"))
        written[-1].write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return written
