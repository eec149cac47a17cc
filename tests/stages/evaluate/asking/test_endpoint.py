"""The client of chat servers: answers in order, tries again, one clear message for each failure, no key anywhere."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Answer, FakeServer, failed, last_message, said, serving

from pipeline.errors import Interrupted, UserError
from stages.evaluate.asking import endpoint as client
from stages.evaluate.asking.endpoint import complete
from stages.evaluate.asking.endpoint_errors import EndpointError
from stages.evaluate.asking.replies import Reply
from stages.evaluate.config import Endpoint

KEY = "sk-7f3a9c5d2e81"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Repeats the last message."""
    with serving(lambda body: said(last_message(body))) as made:
        yield made


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-server")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-server")


def ask(server: FakeServer, texts: list[str] | None = None, **changes: Any) -> list[Reply]:
    fields = set(Endpoint.model_fields)
    endpoint = Endpoint(
        **{"base_url": server.base_url, "model": "m", "max_retries": 2}
        | {name: value for name, value in changes.items() if name in fields}
    )
    call = {"max_new_tokens": 5, "temperature": 0.0, "seed": 3}
    call |= {name: value for name, value in changes.items() if name not in fields}
    return complete(endpoint, [[{"role": "user", "content": text}] for text in texts or ["hello"]], **call)


def in_turn(*answers: Answer) -> Any:
    """Answer by answer, the last one from then on."""
    turns = count()
    return lambda body: answers[min(next(turns), len(answers) - 1)]


def test_request_is_what_the_recipe_says_and_nothing_else(server: FakeServer) -> None:
    ask(server)
    (heard,) = server.heard
    assert heard.path == "/v1/chat/completions"
    assert heard.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "temperature": 0.0,
        "seed": 3,
    }  # and no `stream`
    assert "authorization" not in heard.headers and "openai-organization" not in heard.headers
    assert not {"x-stainless-os", "x-stainless-arch", "x-stainless-runtime-version"} & set(heard.headers)


def test_key_of_the_named_variable_is_sent(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    ask(server, api_key_env="MY_KEY")
    assert server.heard[0].headers["authorization"] == f"Bearer {KEY}"


def test_reply_holds_the_servers_counts_and_whether_the_model_ended(server: FakeServer) -> None:
    (ended,) = ask(server, ["one two three"])
    assert (ended.text, ended.ended, ended.num_prompt_tokens, ended.num_new_tokens) == ("one two three", True, 7, 3)
    server.reply = lambda body: said("cut", finish_reason="length")
    (cut,) = ask(server)
    assert not cut.ended


def test_server_without_usage_leaves_the_counts_open(server: FakeServer) -> None:
    server.reply = lambda body: Answer(200, {"choices": [{"message": {"content": "hi"}}]})
    (reply,) = ask(server)
    assert (reply.text, reply.num_prompt_tokens, reply.num_new_tokens) == ("hi", None, None)


def test_calls_run_at_once_and_replies_keep_the_order(server: FakeServer) -> None:
    together = threading.Barrier(3)
    arrived: list[str] = []

    def reply(body: dict[str, Any]) -> Answer:
        together.wait(timeout=10)  # breaks unless three calls are under way
        if last_message(body) == "0":
            time.sleep(0.1)
        arrived.append(last_message(body))
        return said(last_message(body))

    server.reply = reply
    texts, done = [str(i) for i in range(6)], []
    assert [r.text for r in ask(server, texts, num_parallel=3, advance=done.append)] == texts
    assert arrived != texts and sum(done) == 6


@pytest.mark.parametrize("failure", [failed(500), failed(503), failed(429)], ids=lambda answer: str(answer.status))
def test_failure_that_may_pass_is_tried_again(server: FakeServer, failure: Answer) -> None:
    server.reply = in_turn(failure, failure, said("at last"))
    assert ask(server, max_retries=2)[0].text == "at last"
    assert len(server.heard) == 3


def test_wait_is_what_the_server_asks_for(server: FakeServer) -> None:
    server.reply = in_turn(failed(429, **{"Retry-After": "0.3"}), said("yes"))
    started = time.monotonic()
    ask(server)
    assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "tries", "finding", "remedy"),
    [
        (failed(500, "out of memory"), 3, "fails (500) (3 tries): out of memory", "the server's own log"),
        (failed(429, "quota exceeded"), 3, "takes no more calls (429) (3 tries): quota exceeded", "num_parallel"),
        (failed(401, "bad key"), 1, "refuses the key in MY_KEY (401): bad key", "put a key into MY_KEY"),
        (failed(403, "not yours"), 1, "refuses the key in MY_KEY (403): not yours", "may use m"),
        (failed(400, "seed is " + "x" * 999), 1, "refuses the request (400): seed is x", "mend what it names"),
        (Answer(422, {"detail": "no seed"}), 1, "refuses the request (422): no seed", "mend what it names"),
        (Answer(307, "", {"Location": "http://127.0.0.1:9/v1"}), 1, "sends elsewhere (307)", "base_url"),
        (Answer(200, "<html>It works!"), 1, "no chat completion: <html>It works!", "up to and with /v1"),
        (Answer(200, {"choices": []}), 1, 'no chat completion: {"choices": []}', "up to and with /v1"),
        (Answer(200, {"error": {"message": "hm"}}), 1, "no chat completion", "up to and with /v1"),
        (said(None, finish_reason="length"), 1, "1 of 1 replies of m hold no text", "more new tokens"),
    ],
)
def test_failure_is_one_message_with_place_and_remedy(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, answer: Answer, tries: int, finding: str, remedy: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.reply = lambda body: answer
    with pytest.raises(EndpointError) as raised:
        ask(server, api_key_env="MY_KEY")
    assert isinstance(raised.value, UserError) and raised.value.where == server.base_url
    assert finding in raised.value.problem and remedy in raised.value.remedy
    assert len(str(raised.value)) < 600 and len(server.heard) == tries


def test_unknown_model_lists_those_the_server_has(server: FakeServer) -> None:
    server.reply = lambda body: failed(404, "no such model")
    server.models = ["llama-8b", "qwen-7b"]
    with pytest.raises(
        EndpointError, match=r"knows no model 'lama-8b' \(404\), but: llama-8b, qwen-7b(?s:.*)'llama-8b'"
    ):
        ask(server, model="lama-8b")


def test_404_of_a_server_that_lists_nothing_points_at_the_address_too(server: FakeServer) -> None:
    server.reply = lambda body: failed(404, "Not Found")
    with pytest.raises(EndpointError, match=r"mend model, or base_url: it goes up to and with /v1"):
        ask(server)


def test_unreachable_port_says_so_after_all_tries(server: FakeServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(EndpointError, match=r"cannot be reached \(2 tries\): .*refused\n.*start the server"):
            ask(server, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", max_retries=1)


def test_slow_server_is_given_up_after_the_timeout(server: FakeServer) -> None:
    server.reply = lambda body: time.sleep(1) or said("late")  # type: ignore[func-returns-value]
    with pytest.raises(EndpointError, match=r"no answer within 0.1 s \(2 tries\)\n.*raise timeout"):
        ask(server, timeout=0.1, max_retries=1)


def test_proxy_of_the_environment_is_not_asked_for_a_local_server(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    assert ask(server)[0].text == "hello"


def test_message_names_the_proxy_that_a_call_went_through(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    with pytest.raises(EndpointError, match=r"went through the proxy 127\.0\.0\.1") as raised:
        ask(server, base_url="http://a.invalid/v1", max_retries=0)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_missing_key_is_an_error_before_any_call(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False) if value is None else monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(EndpointError, match="variable MY_KEY is not set"):
        ask(server, api_key_env="MY_KEY")
    assert not server.heard


@pytest.mark.parametrize("value", [KEY + "\nX: y", KEY + "é"])
def test_key_that_cannot_be_sent_is_an_error_without_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(EndpointError, match="cannot stand in a key") as raised:
        ask(server, api_key_env="MY_KEY")
    assert not server.heard and KEY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("status", [200, 307, 400, 401, 404, 429, 500])
def test_key_that_a_server_sends_back_is_in_no_message_traceback_or_log(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.reply = lambda body: failed(status, f"Incorrect API key provided: {KEY}.")
    with caplog.at_level("DEBUG"), pytest.raises(EndpointError) as raised:
        ask(server, api_key_env="MY_KEY", max_retries=0)
    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + caplog.text
    assert KEY not in told
    assert status == 307 or "[MY_KEY]" in str(raised.value)


def test_few_replies_without_text_are_empty_answers_and_a_refusal_is_one(server: FakeServer) -> None:
    server.reply = in_turn(said(None, "content_filter"), said(None, refusal="I will not."), said("yes"))
    replies = ask(server, ["a", "b", "c", "d", "e"], num_parallel=1)
    assert [r.text for r in replies] == ["", "I will not.", "yes", "yes", "yes"]
    assert not replies[0].ended


def test_other_name_of_the_limit_is_used_where_the_server_wants_it(server: FakeServer) -> None:
    def newer(body: dict[str, Any]) -> Answer:
        return failed(400, "use 'max_completion_tokens' instead") if "max_tokens" in body else said("yes")

    server.reply = newer
    assert [r.text for r in ask(server, ["a", "b"], num_parallel=1)] == ["yes", "yes"]
    assert [heard.body.get("max_completion_tokens") for heard in server.heard] == [None, 5, 5]


def test_no_seed_is_sent_where_none_is_asked_for(server: FakeServer) -> None:
    ask(server, seed=None)
    assert set(server.heard[0].body) == {"model", "messages", "max_tokens", "temperature"}


def reasoning(body: dict[str, Any]) -> Answer:
    return failed(400, "Unsupported value: 'temperature'") if "temperature" in body else said("yes")


def test_model_that_refuses_to_be_greedy_is_asked_at_its_own_temperature(server: FakeServer, tmp_path: Path) -> None:
    server.reply = reasoning
    for _ in range(2):  # the second time out of the cache
        replies = ask(server, ["a", "b"], num_parallel=1, cache=tmp_path / "replies.jsonl")
        assert [(reply.text, reply.own_temperature) for reply in replies] == [("yes", True), ("yes", True)]
    assert ["temperature" in heard.body for heard in server.heard] == [True, False, False]


def test_refusal_of_a_temperature_that_was_asked_for_is_an_error(server: FakeServer) -> None:
    server.reply = reasoning
    with pytest.raises(EndpointError, match="'temperature'"):
        ask(server, temperature=0.7)


def test_what_is_learnt_of_a_server_takes_no_try(server: FakeServer) -> None:
    server.reply = in_turn(failed(400, "no 'temperature' here"), failed(429), said("yes"))
    assert ask(server, max_retries=1)[0].text == "yes"


def test_stop_ends_the_calls_under_way_and_the_waits(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 30.0)
    release = threading.Event()

    def reply(body: dict[str, Any]) -> Answer:
        if last_message(body) == "waits":
            release.wait(20)
        return failed(500)

    server.reply = reply
    started = time.monotonic()
    with pytest.raises(Interrupted):
        ask(server, ["waits", "fails"], should_stop=lambda: len(server.heard) == 2)
    waiting = [thread for thread in threading.enumerate() if thread.name == "endpoint"]
    release.set()
    assert time.monotonic() - started < 5
    assert waiting and all(thread.daemon for thread in waiting)  # Python does not wait for them when it ends


def test_cached_reply_is_not_asked_for_again(server: FakeServer, tmp_path: Path) -> None:
    cache, done = tmp_path / "new" / "replies.jsonl", []
    first = ask(server, ["a", "b"], cache=cache)
    assert ask(server, ["b", "c", "a"], cache=cache, advance=done.append)[::2] == first[::-1]
    assert [last_message(heard.body) for heard in server.heard[2:]] == ["c"] and sum(done) == 3


@pytest.mark.parametrize("change", [{"model": "n"}, {"seed": 4}, {"temperature": 1.0}, {"max_new_tokens": 6}])
def test_other_request_is_not_answered_from_the_cache(
    server: FakeServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    ask(server, cache=tmp_path / "replies.jsonl")
    ask(server, cache=tmp_path / "replies.jsonl", **change)
    assert len(server.heard) == 2


def test_replies_before_a_failure_are_paid_for_once_and_a_torn_line_is_asked_again(
    server: FakeServer, tmp_path: Path
) -> None:
    cache = tmp_path / "replies.jsonl"
    server.reply = lambda body: failed(400) if last_message(body) == "c" else said(last_message(body))
    with pytest.raises(EndpointError):
        ask(server, ["a", "b", "c"], num_parallel=1, cache=cache)
    cache.write_bytes(cache.read_bytes()[:-20])  # a kill in the middle of b
    server.reply = lambda body: said(last_message(body))
    for _ in range(2):
        assert [r.text for r in ask(server, ["a", "b", "c"], num_parallel=1, cache=cache)] == ["a", "b", "c"]
    assert [last_message(heard.body) for heard in server.heard] == ["a", "b", "c", "b", "c"]
