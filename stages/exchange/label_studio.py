"""Label Studio (community edition, tried with 1.23.2): a project's tasks and configuration out, its exports back.

Rankings use buckets: with a plain Ranker, pressing Submit at once stores the order shown as if it were an answer.
One configuration serves tasks of any size: it has as many buckets as the largest task, empty ones cost nothing, and
ranks are made dense when they come back. Pairs have a project of their own, since two texts side by side need another
page. What the annotators' result items look like is in `label_studio_results.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stages.annotation.batch import Batch
from stages.annotation.schema import FLAGS, Task
from stages.exchange.cells import letter
from stages.exchange.judgements import match
from stages.exchange.label_studio_file import is_one, parse
from stages.exchange.tools import ExportOptions, ReadOptions, Returned
from stages.exchange.work import Work, open_work, shared_order, showable, shown_messages, write_json, write_text

NAME = "label-studio"
STRENGTHS = MappingProxyType({
    "left_much": "Left is much better",
    "left_better": "Left is better",
    "left_slight": "Left is slightly better",
    "tie": "About the same",
    "right_slight": "Right is slightly better",
    "right_better": "Right is better",
    "right_much": "Right is much better",
})  # fmt: skip

PROMPT = """  <Style>
    .prompt *, .htx-ranker-item p { white-space: pre-wrap; overflow-wrap: anywhere; }
    .htx-ranker-item [class^="itemLine"]:last-child, .htx-ranker-item p:last-child { display: none; }
  </Style>
  <View className="prompt">
    <Paragraphs name="prompt" value="$messages" layout="dialogue" nameKey="role" textKey="content"/>
  </View>
"""
RANKING = """  <List name="completions" value="$items" title="Not ranked"/>
  <Ranker name="rank" toName="completions">
{buckets}
  </Ranker>
"""
PAIR = """  <Pairwise name="preference" toName="left,right"/>
  <View className="prompt"><Text name="left" value="$left"/></View>
  <View className="prompt"><Text name="right" value="$right"/></View>
  <Choices name="strength" toName="prompt" choice="single-radio" showInline="true" required="true">
{choices}
  </Choices>
"""
REMARKS = """  <Choices name="flags" toName="prompt" choice="multiple" showInline="true">
{flags}
  </Choices>
  <TextArea name="comment" toName="prompt" placeholder="Why? (optional)" rows="2" maxSubmissions="1"/>
"""


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """A folder for each of `rankings` and `pairs` with tasks.json, config.xml and project.json, and howto.md."""
    work = open_work(batch, options)
    if not work:
        return []
    pairs = [one for one in work if len(one.task.ids) == 2]
    rankings = [one for one in work if len(one.task.ids) > 2]
    largest = max((len(one.task.ids) for one in rankings), default=0)
    written = []
    if rankings:
        written += _project(batch, folder / "rankings", rankings, ranking_config(largest))
    if pairs:
        written += _project(batch, folder / "pairs", pairs, pair_config())
    names = [name for name, there in (("rankings", rankings), ("pairs", pairs)) if there]
    return [*written, write_text(folder / "howto.md", _howto(batch, work, names))]


def ranking_config(buckets: int) -> str:
    """The page on which completions are dragged into `buckets` tiers; several in one tier are a tie."""
    titles = {1: "1 (best)", buckets: f"{buckets} (worst)"}
    lines = [f'    <Bucket name="tier_{n}" title="{titles.get(n, n)}"/>' for n in range(1, buckets + 1)]
    return f"<View>\n{PROMPT}{RANKING.format(buckets=chr(10).join(lines))}{_remarks()}</View>\n"


def pair_config() -> str:
    """The page with two completions side by side and seven steps between them."""
    return f"<View>\n{PROMPT}{PAIR.format(choices=_choices(STRENGTHS))}{_remarks()}</View>\n"


def task_data(batch: Batch, task: Task) -> dict[str, Any]:
    """The `data` of one Label Studio task. Ids lie here, since some exports leave `meta` out."""
    data: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "task_id": task.task_id,
        "task_digest": task.digest,
        "messages": shown_messages(task.messages),
    }
    order = shared_order(task)
    if len(order) == 2:
        left, right = order
        texts = {"left": showable(task.text(left)), "right": showable(task.text(right))}
        return data | texts | {"left_id": left, "right_id": right}
    items = [{"id": name, "title": letter(n), "body": showable(task.text(name))} for n, name in enumerate(order)]
    return data | {"items": items}


def matches(path: Path, head: Any) -> bool:
    """A list of tasks with annotations, a list of annotations (JSON_MIN), or a CSV file with their columns."""
    return is_one(head)


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The answers in a JSON, JSON_MIN or CSV export, or in a snapshot with users as objects."""
    return match(parse(path), batch, options, path)


def _project(batch: Batch, folder: Path, work: Sequence[Work], config: str) -> list[Path]:
    project = {
        "title": showable(f"{batch.title or 'posttune'} {batch.batch_id}")[:50],  # its limit
        "expert_instruction": showable(batch.instructions),
        "show_instruction": bool(batch.instructions),
        "label_config": config,
        "maximum_annotations": max(len(one.annotators) for one in work),
    }
    return [
        write_json(folder / "tasks.json", [{"data": task_data(batch, one.task)} for one in work]),
        write_text(folder / "config.xml", config),
        write_json(folder / "project.json", project),
    ]


def _remarks() -> str:
    return REMARKS.format(flags=_choices(FLAGS))


def _choices(choices: Mapping[str, str]) -> str:
    return "\n".join(f'    <Choice alias="{alias}" value="{title}"/>' for alias, title in choices.items())


def _howto(batch: Batch, work: Sequence[Work], names: Sequence[str]) -> str:
    overlap = max(len(one.annotators) for one in work)
    return HOWTO.format(
        batch=batch.batch_id,
        tasks=len(work),
        folders=" and ".join(f"`{name}/`" for name in names),
        name=names[0],
        overlap=overlap,
    )


HOWTO = """# Batch {batch} in Label Studio

{tasks} tasks. Do this for each of the folders here: {folders} (two folders are two projects).

In the browser:

1. Create a project. Under Labeling Setup choose Custom template, Code, and paste `config.xml`.
2. Import `tasks.json` once. A second import would show every task twice (the answers would still be told apart).
3. Settings, Annotation: set the annotations per task to {overlap}, and paste the instructions from `project.json`.
4. Invite the annotators. They rank with Submit, pass over a task with Skip, and need not place every completion.
5. Export as **JSON** and import that file. JSON_MIN and CSV are read too; both leave skipped tasks out.

By its API (`$LS` is the server, `$TOKEN` a token of a user):

```sh
id=$(curl -s -H "Authorization: Token $TOKEN" -H 'Content-Type: application/json' \\
  "$LS/api/projects/" -d @{name}/project.json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
curl -s -H "Authorization: Token $TOKEN" -H 'Content-Type: application/json' \\
  "$LS/api/projects/$id/import" -d @{name}/tasks.json
curl -s -H "Authorization: Token $TOKEN" "$LS/api/projects/$id/export?exportType=JSON" -o {name}.json
curl -s -H "Authorization: Token $TOKEN" "$LS/api/users/" -o users.json
```

An export names people by number. Give `users.json` with `--users` when you import, and annotators are known by e-mail.

What the community edition cannot do: it shows a task to everybody in one order (shuffled task by task, and recorded),
and it cannot give a task to a certain person. Where that matters, export for one person at a time, one project each.
"""
