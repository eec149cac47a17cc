"""A server that speaks as much of OpenAI's chat completions as the client asks for, and remembers what it heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What goes over the wire: a status, a body (text is sent as it is) and headers."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Heard:
    """One request: its path, headers in small letters, and body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class FakeServer:
    """`reply` makes each answer out of the request's body; `models` is what /v1/models lists, None for a 500."""

    base_url: str
    reply: Callable[[dict[str, Any]], Answer]
    models: list[str] | None = None
    heard: list[Heard] = field(default_factory=list)


def said(text: str | None, finish_reason: str = "stop", **message: Any) -> Answer:
    """A chat completion with this text; 7 prompt tokens, and a new token for each word."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": len((text or "").split()), "total_tokens": 0}
    return Answer(200, {"id": "x", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})


def failed(status: int, message: str = "no", **headers: str) -> Answer:
    return Answer(status, {"error": {"message": message}}, headers)


def last_message(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Answer]) -> Iterator[FakeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._note(body)
            self._send(server.reply(body))

        def do_GET(self) -> None:
            self._note({})
            listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in server.models or []]}
            self._send(failed(500) if server.models is None else Answer(200, listed))

        def _note(self, body: dict[str, Any]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.heard.append(Heard(self.path, headers, body))

        def _send(self, answer: Answer) -> None:
            is_text = isinstance(answer.body, str)
            content = (answer.body if is_text else json.dumps(answer.body)).encode()
            headers = {"Content-Type": "text/html" if is_text else "application/json", **answer.headers}
            try:
                self.send_response(answer.status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client waits no longer, which some tests are about
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *args: None  # type: ignore[method-assign]
    server = FakeServer(f"http://127.0.0.1:{listening.server_port}/v1", reply)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
