"""`transformers serve` on an export, as the printed command starts it: its answer is the greedy one."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.contract import Artifact, ModelConfig
from stages.export import serving
from stages.export.export import Order, export
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.locate import Location
from stages.rollout.generate import generate

ASKED = [{"role": "user", "content": "Where is my order?"}]


@pytest.fixture
def served(model: ModelConfig, policies: list[Path], tmp_path: Path) -> Iterator[str]:
    """The address of a server on the export, started by the command that the export prints."""
    said: list[str] = []
    export(Artifact("sft", "policy", policies[0]), model, Order(tmp_path / "out"), (), said.append)
    (line,) = (line for line in said if line.startswith("serve: "))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = shlex.split(line.removeprefix("serve: ").replace("--port 8000", f"--port {port}"))
    program = Path(sys.executable).with_name(command[0])
    log = (tmp_path / "log").open("w")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen([str(program), *command[1:]], stdout=log, stderr=log, env=environment)
    address = f"http://localhost:{port}"
    try:
        for _ in range(480):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


@pytest.mark.serving
@pytest.mark.skipif(not os.environ.get("POSTTUNE_TEST_SERVING"), reason="set POSTTUNE_TEST_SERVING=1 for a server")
@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="pip install 'transformers[serving]'")
def test_served_answer_is_the_artifacts_greedy_one(
    served: str, model: ModelConfig, chat: Chat, policies: list[Path], tmp_path: Path
) -> None:
    asked = {"model": str(tmp_path / "out"), "messages": ASKED, "max_tokens": 16, "temperature": 0}
    request = urllib.request.Request(
        f"{served}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)["choices"][0]["message"]["content"]
    backbone = open_backbone(model)
    backbone.load("policy", Artifact("sft", "policy", policies[0]))
    (expected,) = generate(backbone, "policy", chat, [chat.prompt_ids(ASKED)], max_new_tokens=16, temperature=0.0,
                           seed=1, purpose="test")  # fmt: skip
    assert answer == chat.decode(expected.ids)
    assert answer


def test_place_with_a_space_is_quoted_and_vllm_is_told_the_dtype() -> None:
    commands = serving.of_merged(Path("/a b/out"), "float32")
    assert shlex.split(commands[0])[3] == "/a b/out"
    assert "--dtype float32" in commands[2]


def test_adapter_on_a_package_names_no_server_that_could_not_load_it() -> None:
    inside = serving.of_adapter(Path("/out"), Location("/cache/x", None, "package:x==1"))
    hub = serving.of_adapter(Path("/out"), Location("org/base", None, "org/base"))
    assert "vllm" not in inside[0] and "--format merged" in inside[0]
    assert "vllm serve org/base --enable-lora --lora-modules out=/out" in hub[0]
