"""A server as a candidate: its answers beside the others', and the rest kept where it cannot be reached."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny_run import Log, make_context, titled

from pipeline.contract import Artifact, Context, DataSource, ModelConfig, Source
from stages import evaluate
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.rollout.score import all_scores
from stages.rollout.sequences import Sequences

MAIN = "Candidates on held-out prompts"


class Echo(BaseHTTPRequestHandler):
    """Says the seed and the last words that it was asked; cut off where those end with a 3."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        words = asked["messages"][-1]["content"]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": f"{asked['seed']} {words}"},
            "finish_reason": "length" if words.endswith("3") else "stop",
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        told = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to standard error."""


@pytest.fixture
def server() -> Iterator[Any]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    served.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def context(model: ModelConfig, reward: Path, rows: dict[str, Path], tmp_path: Path, log: Log) -> Context:
    made = make_context(tmp_path / "out", model, log, candidates=["base"], reward=reward, data=rows["prompts"])
    return replace(made, data={"data": [Source("rows", DataSource(path=str(rows["prompts"]), split="all"))]})


def config_for(address: str, **way: Any) -> evaluate.Config:
    endpoint = {"base_url": address, "model": "m", "max_retries": 0, "timeout": 5}
    baselines = {"gpt": {"endpoint": endpoint, **way}, "prompt": {"system": "Be kind."}}
    return evaluate.Config(candidates=("base",), data="rows", baselines=baselines, max_new_tokens=5)  # type: ignore[arg-type]


def address_of(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def read(context: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (context.output / "answers.jsonl").open()]


def test_servers_answers_stand_beside_the_others(context: Context, server: Any, chat: Chat, reward: Path) -> None:
    result = evaluate.run(config_for(address_of(server), system="Be brief."), context)
    assert titled(result, MAIN).columns[1:] == ["base", "gpt", "base + prompt"]
    rows = read(context)
    backbone, head = open_backbone(context.model), ScalarHead.load(reward, 40)
    backbone.load("reward", Artifact("rm", "reward", reward))
    prompts, completions = [], []
    for row in rows:
        own, words = row["answers"]["gpt"], row["prompt"][0]["content"]
        assert own["text"] == f"{context.seed} {words}"
        assert (own["num_prompt_tokens"], own["num_new_tokens"]) == (100, 7)
        ids = chat.tokenizer(own["text"], add_special_tokens=False)["input_ids"]
        assert own["figures"]["ended"] == (not words.endswith("3"))
        prompts.append(chat.prompt_ids(row["prompt"]))
        completions.append(ids if words.endswith("3") else [*ids, chat.end_of_turn])
        assert own["figures"]["length"] == len(completions[-1])
    scores = all_scores(backbone, "reward", head, Sequences(prompts, completions))
    given = [row["answers"]["gpt"]["figures"]["proxy score"] for row in rows]
    assert given == pytest.approx(scores.tolist(), abs=1e-5)
    sent = server.asked[0]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["max_tokens"]) == (0.0, 5)


def test_best_of_a_server_draws_with_different_seeds(context: Context, server: Any) -> None:
    evaluate.run(config_for(address_of(server), best_of=2), context)
    assert {(asked["seed"], asked["temperature"]) for asked in server.asked} == {(17, 1.0), (18, 1.0)}
    rows = read(context)
    assert len(server.asked) == 2 * len(rows)
    assert {row["answers"]["gpt"]["text"].split()[0] for row in rows} <= {"17", "18"}
    assert all(row["answers"]["gpt"]["num_new_tokens"] == 14 for row in rows)


def test_server_that_is_not_there_costs_nobody_else_anything(context: Context, log: Log) -> None:
    result = evaluate.run(config_for("http://127.0.0.1:9/v1"), context)
    table = titled(result, MAIN)
    assert table.columns[1:] == ["base", "base + prompt"]
    assert "gpt is left out: http://127.0.0.1:9/v1: cannot be reached" in table.note
    assert any(line.startswith("gpt is left out of the evaluation: http://127.0.0.1:9/v1") for line in log.said)
    assert any("gpt is left out" in line and "--force evaluate" in line for line in result.summary)
    assert read(context)[0]["answers"].keys() == {"base", "base + prompt"}
