"""Answers of an OpenAI-compatible server: vLLM's, `transformers serve`, or a company's.

Calls go through the `openai` package, several at once, never streamed. A server hears the request and the key that the
recipe names, and nothing else: none of the package's headers about this machine, no organisation from the
environment, no key that was meant for another server. Redirects are not followed: they would carry the prompts to an
address that nobody named. A proxy of the environment (HTTPS_PROXY) is used but for servers on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import Interrupted
from stages.evaluate.asking.endpoint_errors import explain, is_local, no_reply, no_text, read_key
from stages.evaluate.asking.replies import Cache, Reply
from stages.evaluate.config import Endpoint

MOST_EMPTY = 0.2  # of the replies may hold no text; they count as empty answers
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; the wait doubles with each try, or is what the server asks for
LOOK = 0.1  # seconds between looks at whether to stop
KEPT_BACK = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")  # of this machine

Request = Mapping[str, Any]


def complete(
    endpoint: Endpoint,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int | None,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Reply]:
    """The model's answer to each conversation, in their order. `None` leaves the seed to the server.

    OpenAI's reasoning models refuse to be greedy: they are asked at their own temperature, and the replies say so.

    `cache` is a JSON-lines file of replies: an equal request is answered from it, so that an evaluation which was
    stopped pays only for the calls under way at that moment. Raises EndpointError at the first call that fails for
    good, and Interrupted soon after `should_stop` turns true.
    """
    key = read_key(endpoint)
    requests = [_request(endpoint, messages, max_new_tokens, temperature, seed) for messages in conversations]
    kept = Cache(cache)
    replies = {place: reply for place, request in enumerate(requests) if (reply := kept.get(request)) is not None}
    advance(len(replies))
    missing = {place: request for place, request in enumerate(requests) if place not in replies}
    num_empty = 0
    for place, reply in _in_parallel(Server(endpoint, key), missing, should_stop):
        replies[place] = reply or Reply("", False, None, None)
        if reply is not None:
            kept.keep(requests[place], reply)
        num_empty += reply is None
        advance(1)
    if num_empty > MOST_EMPTY * len(requests):
        raise no_text(endpoint, num_empty, len(requests))
    return [replies[place] for place in range(len(requests))]


def _request(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, Any]],
    max_new_tokens: int,
    temperature: float,
    seed: int | None,
) -> Request:
    """What determines a reply: asked of the server, and what the cache knows it by."""
    request = {"base_url": endpoint.base_url, "model": endpoint.model, "messages": [dict(m) for m in messages]}
    request |= {"max_tokens": max_new_tokens, "temperature": temperature}
    return request if seed is None else request | {"seed": seed}


def _in_parallel(
    server: Server, requests: Mapping[int, Request], should_stop: Callable[[], bool]
) -> Iterator[tuple[int, Reply | None]]:
    """Replies as they come, with the place of their request.

    The threads are daemons, because those of an executor are waited for when Python ends, and a call may take minutes.
    """
    todo: SimpleQueue[tuple[int, Request]] = SimpleQueue()
    done: SimpleQueue[tuple[int, Reply | Exception | None]] = SimpleQueue()
    for item in requests.items():
        todo.put(item)

    def work() -> None:
        while not server.stopped.is_set():
            try:
                place, request = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((place, server.ask(request)))
            except Exception as error:  # raised again where the replies are read
                done.put((place, error))

    for _ in range(min(server.endpoint.num_parallel, len(requests))):
        Thread(target=work, daemon=True, name="endpoint").start()
    try:
        for _ in requests:
            place, reply = _next(done, should_stop)
            if isinstance(reply, Exception):
                raise reply
            yield place, reply
    finally:
        server.close()


def _next(done: SimpleQueue[Any], should_stop: Callable[[], bool]) -> Any:
    while True:
        if should_stop():
            raise Interrupted("stopped", remedy="run the same command again to go on")
        try:
            return done.get(timeout=LOOK)
        except Empty:
            continue


class Server:
    """One server, asked until it answers or there is no sense in it."""

    def __init__(self, endpoint: Endpoint, key: str | None) -> None:
        import openai

        self.endpoint = endpoint
        self.stopped = Event()
        self._key = key
        self._own_temperature = False
        self._limit_name = "max_tokens"
        silent = ["OpenAI-Organization", "OpenAI-Project", *(f"X-Stainless-{name}" for name in KEPT_BACK)]
        if key is None:
            silent.append("Authorization")  # no key, rather than a made-up one
        self._headers = {name: openai.Omit() for name in silent}
        self._client = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=key or "none",  # left out, the package would read OPENAI_API_KEY and send it anywhere
            timeout=endpoint.timeout,
            max_retries=0,  # `ask` tries again: the package's own waits cannot be interrupted
            http_client=openai.DefaultHttpxClient(trust_env=not is_local(endpoint), follow_redirects=False),
        )

    def close(self) -> None:
        """End the waits, and what connections can be ended."""
        self.stopped.set()
        self._client.close()

    def ask(self, request: Request) -> Reply | None:
        """Its reply; None where that holds no text. EndpointError when `max_retries` more tries did not help."""
        import openai

        attempt = 0
        while True:
            body = {name: value for name, value in request.items() if name not in ("base_url", "max_tokens")}
            try:
                limit_name = self._limit_name
                body[limit_name] = request["max_tokens"]
                own_temperature = self._own_temperature and not body["temperature"]
                if own_temperature:
                    del body["temperature"]
                raw = self._client.chat.completions.with_raw_response.create(**body, extra_headers=self._headers)
                return self._read(raw.text, own_temperature)
            except openai.APIError as error:
                if limit_name == "max_tokens" and _wants_other_limit(error):
                    self._limit_name = "max_completion_tokens"
                    continue
                if body.get("temperature") == 0 and _names_temperature(error):
                    self._own_temperature = True
                    continue
                if attempt >= self.endpoint.max_retries or not _may_pass(error):
                    raise explain(
                        self.endpoint, error, key=self._key, num_tries=attempt + 1, models=self._models
                    ) from None
                wait = _wait(error, attempt)
            attempt += 1
            if self.stopped.wait(wait):
                break
        raise Interrupted("stopped")  # nobody reads it: those who set `stopped` have gone

    def _read(self, body: str, own_temperature: bool) -> Reply | None:
        try:
            read = _Body.model_validate_json(body)
        except ValidationError:
            raise no_reply(self.endpoint, body, self._key) from None
        choice, usage = read.choices[0], read.usage or _Usage()
        text = choice.message.content if choice.message.content is not None else choice.message.refusal
        if text is None:
            return None
        ended = choice.finish_reason == "stop"
        return Reply(text, ended, usage.prompt_tokens, usage.completion_tokens, own_temperature)

    def _models(self) -> list[str]:
        """The names that the server knows; none where it does not say."""
        import openai

        try:
            answer = self._client.models.with_raw_response.list(extra_headers=self._headers)
            return sorted(model.id for model in _Models.model_validate_json(answer.text).data)
        except (openai.APIError, ValidationError):
            return []


def _may_pass(error: Any) -> bool:
    """Whether the same call can succeed a little later: no connection, no answer in time, too many calls, a failure."""
    status = getattr(error, "status_code", None)
    return status is None or status in (408, 429) or status >= 500


def _wait(error: Any, attempt: int) -> float:
    """Seconds until the next try."""
    response = getattr(error, "response", None)
    try:
        asked = float(response.headers["retry-after"])  # type: ignore[union-attr]
    except (AttributeError, KeyError, ValueError):
        asked = FIRST_WAIT * 2**attempt
    return min(max(asked, 0.0), LONGEST_WAIT)


def _wants_other_limit(error: Any) -> bool:
    """OpenAI's newer models refuse `max_tokens`, and many servers know no other name for it."""
    return getattr(error, "status_code", None) == 400 and "max_completion_tokens" in str(error)


def _names_temperature(error: Any) -> bool:
    return getattr(error, "status_code", None) in (400, 422) and "temperature" in str(error)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None  # OpenAI's models say here why they do not answer


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]
