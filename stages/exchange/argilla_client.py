"""Push an exported batch to an Argilla server, and fetch the answers. The export copies this file as it is.

    python argilla_client.py push k3     make the dataset of the folder k3 (needs `pip install argilla`)
    python argilla_client.py fetch k3    write k3/answers.json and users.json (needs nothing)

ARGILLA_API_URL, ARGILLA_API_KEY and ARGILLA_WORKSPACE say where.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

PAGE = 500  # records; the server allows at most 1,000


def main() -> None:
    """Run the command that was given."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("push", "fetch"):
        sys.exit(__doc__)
    {"push": push, "fetch": fetch}[sys.argv[1]](Path(sys.argv[2]))


def push(folder: Path) -> None:
    """Make the dataset and log its records."""
    import argilla

    client = argilla.Argilla(api_url=os.environ["ARGILLA_API_URL"], api_key=os.environ["ARGILLA_API_KEY"])
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    dataset = argilla.Dataset(
        name=settings["name"],
        workspace=os.environ.get("ARGILLA_WORKSPACE"),
        settings=dataset_settings(argilla, settings),
        client=client,
    )
    dataset.create()
    records = json.loads((folder / "records.json").read_text("utf-8"))
    dataset.records.log([argilla.Record(**record) for record in records])


def dataset_settings(argilla: Any, settings: dict[str, Any]) -> Any:
    """Argilla's settings object. Markdown is off: it would load images that a model's text names."""
    places, flags = settings["places"], settings["flags"]
    texts = [argilla.TextField(name=name, title=title, use_markdown=False) for name, title in places.items()]
    return argilla.Settings(
        guidelines=settings["guidelines"] or None,
        fields=[argilla.ChatField(name="prompt", title="Prompt", use_markdown=False), *texts],
        questions=[
            argilla.RankingQuestion(name="ranking", title="Rank, best first; one place for several is a tie",
                                    values=places, required=True),
            argilla.MultiLabelQuestion(name="flags", title="Anything wrong?", labels=flags, required=False),
            argilla.TextQuestion(name="comment", title="Why?", required=False),
        ],
        allow_extra_metadata=True,
        distribution=argilla.TaskDistribution(min_submitted=settings["min_submitted"]),
    )  # fmt: skip


def fetch(folder: Path) -> None:
    """Write all records with their responses, page by page, and the users."""
    name = json.loads((folder / "settings.json").read_text("utf-8"))["name"]
    found = [one for one in get("me/datasets")["items"] if one["name"] == name]
    if len(found) != 1:
        sys.exit(f"{len(found)} datasets are called {name}; one is needed")
    items: list[Any] = []
    while True:
        page = get(f"datasets/{found[0]['id']}/records?include=responses&limit={PAGE}&offset={len(items)}")["items"]
        items += page
        if len(page) < PAGE:
            break
    (folder / "answers.json").write_text(json.dumps({"items": items, "total": len(items)}), "utf-8")
    Path("users.json").write_text(json.dumps(get("users")), "utf-8")


def get(path: str) -> Any:
    """What the server answers."""
    url = f"{os.environ['ARGILLA_API_URL'].rstrip('/')}/api/v1/{path}"
    request = urllib.request.Request(url, headers={"X-Argilla-Api-Key": os.environ["ARGILLA_API_KEY"]})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
