"""A batch through a real Label Studio server: projects, tasks, two people's answers and exports by its own interface.

POSTTUNE_TEST_LABEL_STUDIO names the program, or is 1 where `label-studio` is on the path:

    python3 -m venv ls-venv && ls-venv/bin/pip install label-studio==1.23.2     # about 1 GB
    POSTTUNE_TEST_LABEL_STUDIO=$PWD/ls-venv/bin/label-studio python -m pytest tests/stages/annotation -m label_studio
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import tool_pages
from tool_batch import batch_of, dense

from stages.exchange import label_studio
from stages.exchange.tools import ExportOptions, ReadOptions
from stages.exchange.users import read_users

PROGRAM = os.environ.get("POSTTUNE_TEST_LABEL_STUDIO", "")
OWNER, SECOND = "ann1@example.com", "ann2@example.com"
TOKEN, PASSWORD = "0123456789abcdef0123456789abcdef01234567", "pw-123456-of-a-test"

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PROGRAM, reason="set POSTTUNE_TEST_LABEL_STUDIO to the program, or to 1"),
]


class Server:
    """A running server, asked as a user."""

    def __init__(self, url: str) -> None:
        self.url, self.tokens = url, {OWNER: TOKEN}

    def ask(self, path, body=None, person=OWNER):
        """What the server answers, as bytes."""
        headers = {"Authorization": f"Token {self.tokens[person]}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=60) as response:
            return response.read()

    def json(self, path, body=None, person=OWNER):
        return json.loads(self.ask(path, body, person))

    def sign_up(self, email):
        """Make a user by the page that people use, and remember the token."""
        jar = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        page = f"{self.url}/user/signup/"
        browser.open(page, timeout=60).read()
        csrf = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
        form = {"email": email, "password": PASSWORD, "csrfmiddlewaretoken": csrf}
        request = urllib.request.Request(page, urllib.parse.urlencode(form).encode(), {"Referer": page})
        browser.open(request, timeout=60).read()
        self.tokens[email] = json.load(browser.open(f"{self.url}/api/current-user/token", timeout=60))["token"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["label-studio" if PROGRAM == "1" else PROGRAM, "start", "--no-browser", "--internal-host", "127.0.0.1",
               "--port", str(port), "--data-dir", str(folder), "--username", OWNER, "--password", PASSWORD,
               "--user-token", TOKEN, "--enable-legacy-api-token"]  # fmt: skip
    quiet = {**os.environ, "LATEST_VERSION_CHECK": "false", "COLLECT_ANALYTICS": "false", "SENTRY_DSN": ""}
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=quiet) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log.txt")
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def wait_for(url, process, log):
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"the server does not answer: {log.read_text('utf-8', 'replace')[-2000:]}")


def test_rankings_come_back_when_a_real_server_held_them(server, tmp_path):
    batch = batch_of(3, 4, 2, 2, people=(OWNER, SECOND))
    label_studio.export(batch, tmp_path, ExportOptions())
    server.sign_up(SECOND)
    answers = opinions(batch)
    for name in ("rankings", "pairs"):
        annotate(server, tmp_path, name, answers)
    users = tmp_path / "users.json"
    users.write_bytes(server.ask("/api/users/"))
    options = ReadOptions(users=read_users(users))
    expected = {key: {} if ranks == "skip" else dense(ranks) for key, ranks in answers.items()}
    for kind in ("JSON", "JSON_MIN", "CSV"):
        returned = [label_studio.read(tmp_path / f"{name}.{kind}", batch, options) for name in ("rankings", "pairs")]
        assert [problem for one in returned for problem in one.problems] == []
        found = {(a.annotator, a.task_id): dict(a.ranks) for one in returned for a in one.answers}
        skips = {key for key, ranks in answers.items() if ranks == "skip"}
        kept = expected if kind == "JSON" else {key: ranks for key, ranks in expected.items() if key not in skips}
        assert found == kept
        remarks = {(a.flags, a.comment) for one in returned for a in one.answers if a.status != "skipped"}
        assert remarks == {(("all_bad", "unsafe"), '["not", "JSON"]\nof ours')}


def opinions(batch):
    """Ties, gaps and unranked completions for the first person, other ones for the second, and one skipped task."""
    answers = {}
    for number, task in enumerate(batch.tasks):
        size = len(task.ids)
        for turn, person in enumerate((OWNER, SECOND)):
            ranks = {name: 1 + (place * (turn + 1) + number) % size for place, name in enumerate(task.ids)}
            if size > 2:
                ranks[task.ids[turn]] = (None, size)[turn]
            answers[person, task.task_id] = ranks
    answers[SECOND, batch.tasks[0].task_id] = "skip"
    return answers


def annotate(server, folder: Path, name: str, answers) -> None:
    """Make the exported project, answer its tasks as their page would, and write the three exports."""
    project = json.loads((folder / name / "project.json").read_text("utf-8"))
    number = server.json("/api/projects/", project)["id"]
    server.ask(f"/api/projects/{number}/import", json.loads((folder / name / "tasks.json").read_text("utf-8")))
    buckets = project["label_config"].count("<Bucket")
    tasks = server.json(f"/api/tasks?project={number}&page_size=100")["tasks"]
    assert len(tasks) == 2
    comment = {"text": ['["not", "JSON"]\nof ours']}
    remarks = [
        {"from_name": "flags", "to_name": "prompt", "type": "choices", "value": {"choices": ["all_bad", "unsafe"]}},
        {"from_name": "comment", "to_name": "prompt", "type": "textarea", "value": comment},
    ]
    for task in tasks:
        for person in (OWNER, SECOND):
            ranks = answers[person, task["data"]["task_id"]]
            if ranks == "skip":
                body = {"result": [], "was_cancelled": True}
            else:
                body = {"result": tool_pages.label_studio_result(task["data"], ranks, buckets) + remarks}
            server.ask(f"/api/tasks/{task['id']}/annotations/", {**body, "lead_time": 12.3}, person)
    for kind in ("JSON", "JSON_MIN", "CSV"):
        data = server.ask(f"/api/projects/{number}/export?exportType={kind}")
        (folder / f"{name}.{kind}").write_bytes(data)
