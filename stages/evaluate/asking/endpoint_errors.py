"""What went wrong at a chat server, said in one message: the server, what it did, and what to do."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import ModelError, first_line, nearest
from stages.evaluate.config import Endpoint

if TYPE_CHECKING:
    from openai import APIError

NUM_MODELS = 10  # as many names are listed
LONGEST = 300  # characters of a server's own words


class EndpointError(ModelError):
    """A server that was to answer did not: the rest of an evaluation can go on without it."""


def read_key(endpoint: Endpoint) -> str | None:
    """The key from the environment. EndpointError, without the value, where it is missing or cannot be sent."""
    name = endpoint.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise EndpointError(
            f"the environment variable {name} is not set",
            where=endpoint.base_url,
            remedy=f"set {name} to the key for this server; where it wants no key, leave out api_key_env",
        )
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"the environment variable {name} holds characters that cannot stand in a key",
            where=endpoint.base_url,
            remedy="copy the key again: letters, digits and signs on one line",
        )
    return key


def explain(
    endpoint: Endpoint, error: APIError, *, key: str | None, num_tries: int, models: Callable[[], Sequence[str]]
) -> EndpointError:
    """The message for what the `openai` package raised; `models` asks the server for the names that it knows."""
    import openai

    tries = f" ({num_tries} tries)" if num_tries > 1 else ""
    where, told = endpoint.base_url, quote(endpoint, _words(error), key)
    if isinstance(error, openai.APITimeoutError):
        return EndpointError(
            f"no answer within {endpoint.timeout:g} s{tries}",
            where=where,
            remedy="raise timeout, lower num_parallel, or ask for fewer new tokens",
        )
    if not isinstance(error, openai.APIStatusError):
        return EndpointError(f"cannot be reached{tries}: {told}", where=where, remedy=_reach(endpoint))
    status = error.status_code
    if status in (401, 403):
        return _no_entry(endpoint, status, told)
    if status == 404:
        return _not_found(endpoint, told, models())
    if status == 429:
        remedy = "lower num_parallel, raise max_retries, or look at the account's limits and credit"
        return EndpointError(f"takes no more calls (429){tries}: {told}", where=where, remedy=remedy)
    if status >= 500:
        return EndpointError(f"fails ({status}){tries}: {told}", where=where, remedy="see the server's own log")
    if status < 400:
        remedy = "write the address that it points to as base_url, up to and with /v1"
        return EndpointError(f"sends elsewhere ({status}), which is not followed", where=where, remedy=remedy)
    remedy = f"mend what it names; asked was the model {endpoint.model}, as the recipe says"
    return EndpointError(f"refuses the request ({status}): {told}", where=where, remedy=remedy)


def no_reply(endpoint: Endpoint, body: str, key: str | None) -> EndpointError:
    """For an answer that is no chat completion: another service's page, or a completion without choices."""
    return EndpointError(
        f"answers, but with no chat completion: {quote(endpoint, body, key) or 'nothing'}",
        where=endpoint.base_url,
        remedy="base_url goes up to and with /v1 of a server that speaks OpenAI's chat completions",
    )


def no_text(endpoint: Endpoint, num_empty: int, num_replies: int) -> EndpointError:
    """For replies that hold no text at all, as when a model spends its budget on thinking."""
    return EndpointError(
        f"{num_empty} of {num_replies} replies of {endpoint.model} hold no text",
        where=endpoint.base_url,
        remedy="a model that thinks before it answers needs more new tokens, or its thinking switched off",
    )


def quote(endpoint: Endpoint, text: str, key: str | None) -> str:
    """A server's words on one short line, with the variable's name for the key, should it have sent it back."""
    if key:
        text = text.replace(key, f"[{endpoint.api_key_env}]")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _words(error: APIError) -> str:
    """What the server itself says, out of the forms that servers give it: {message}, {detail}, or plain text."""
    body: Any = error.body
    if isinstance(body, Mapping):
        told = body.get("message") or body.get("detail") or body
        return told if isinstance(told, str) else str(told)
    if isinstance(body, str):
        return body
    return first_line(error.__cause__ or error)


def _no_entry(endpoint: Endpoint, status: int, told: str) -> EndpointError:
    name = endpoint.api_key_env
    if name is None:
        remedy = "write the name of the environment variable that holds the key: api_key_env: ..."
        return EndpointError(f"wants a key ({status}): {told}", where=endpoint.base_url, remedy=remedy)
    remedy = f"put a key into {name} that may use {endpoint.model} on this server"
    return EndpointError(f"refuses the key in {name} ({status}): {told}", where=endpoint.base_url, remedy=remedy)


def _not_found(endpoint: Endpoint, told: str, known: Sequence[str]) -> EndpointError:
    if not known:
        return EndpointError(
            f"knows no chat model '{endpoint.model}' here (404): {told}",
            where=endpoint.base_url,
            remedy="mend model, or base_url: it goes up to and with /v1",
        )
    listed = ", ".join(known[:NUM_MODELS]) + (f" and {len(known) - NUM_MODELS} more" if len(known) > NUM_MODELS else "")
    hint = nearest(endpoint.model, known)
    return EndpointError(
        f"knows no model '{endpoint.model}' (404), but: {listed}",
        where=endpoint.base_url,
        remedy=hint if hint.startswith("did you mean") else "name one of those as model",
    )


def _reach(endpoint: Endpoint) -> str:
    """A proxy that the environment names is the likeliest surprise, so it is named too, without its password."""
    remedy = "start the server, or mend base_url"
    address = urlsplit(endpoint.base_url)
    if is_local(endpoint) or urllib.request.proxy_bypass(address.hostname or ""):
        return remedy
    proxy = urllib.request.getproxies().get(address.scheme)
    return f"{remedy}; the call went through the proxy {urlsplit(proxy).hostname}" if proxy else remedy


def is_local(endpoint: Endpoint) -> bool:
    """Whether the server is on this machine, where no proxy is of use."""
    host = urlsplit(endpoint.base_url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")
