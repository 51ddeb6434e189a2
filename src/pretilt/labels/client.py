"""One OpenAI-compatible endpoint: asked politely, never trusted, within a budget.

Only chat completions are used, which every server has. Structured output goes down a ladder (a JSON schema as
OpenAI and vLLM take it, as llama-cpp-python and Together take it, any JSON object, nothing but the prompt) until the
server takes the request; answers are checked at every rung. A failure is an exception of one of three kinds, so that a
caller can turn each into a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pretilt.errors import UserError, require_extra
from pretilt.labels.answers import InvalidAnswer, plain
from pretilt.labels.cache import AnswerCache, answer_key
from pretilt.labels.prompts import Messages, repair_messages
from pretilt.run import content_hash

T = TypeVar("T")

RUNGS = ("json_schema", "json_object with schema", "json_object", "prompt")
_GIVE_UP_AFTER = 3  # requests in a row that failed in spite of all tries: the endpoint is down
_LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says
_UNSUPPORTED = re.compile("unsupported|not support|unknown|unrecogni[sz]ed|not permitted", re.IGNORECASE)
_REASONING_TOKENS = 2000  # for models that think before they answer, and count it


class EndpointError(Exception):
    """The endpoint gave no answer."""


class BudgetSpent(Exception):
    """The cap on requests or on tokens is reached."""


class _Rejected(Exception):
    """The endpoint does not take this request as it is (400 or 422)."""


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask. `base_url` None is the SDK's default host."""

    model: str
    base_url: str | None = None
    api_key: str = field(default="not-needed", repr=False)
    timeout: float = 120.0  # seconds for one whole answer
    tries: int = 5  # of one request
    backoff: float = 0.5  # seconds before the second try, doubled after every one
    max_requests: int = 1000
    max_tokens: int = 2_000_000


def find_endpoint(
    model: str | None, base_url: str | None, api_key_env: str, environment: Mapping[str, str] = os.environ, **more: Any
) -> Endpoint | None:
    """The endpoint that was named, None if no model was: without one nothing leaves the machine.

    The base URL may come from OPENAI_BASE_URL or OPENAI_API_BASE; a server of one's own needs no key.
    """
    if model is None:
        if base_url is not None:
            raise UserError("--base-url goes with --model", why="the endpoint must be told which model answers")
        return None

    require_extra("labels", "labelling by a language model")
    base_url = base_url or environment.get("OPENAI_BASE_URL") or environment.get("OPENAI_API_BASE") or None
    if base_url is not None:
        check_base_url(base_url)

    key = environment.get(api_key_env, "").strip()
    if not key and (base_url is None or api_key_env != "OPENAI_API_KEY"):
        raise UserError(
            f"the environment variable {api_key_env} is not set",
            why="it holds the key of the endpoint",
            fix="Set it, name another with --api-key-env, or give the --base-url of a server of your own",
        )

    return Endpoint(model, base_url, key or "not-needed", **more)


def check_base_url(url: str) -> None:
    """Raise UserError for an address that no server can have, or that holds a password: addresses are stored."""
    why = ""
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            why = "it has no http:// or no host"
        elif parts.port == 0:
            why = "port 0 cannot be asked"
        elif any(c.isspace() or not c.isprintable() for c in url):
            why = "it holds a space or a control character"
        elif parts.username is not None or parts.password is not None:
            why = "it holds a user name or password, which would be stored; give the key by --api-key-env"
    except ValueError as error:  # a port that is no number or above 65535, half an IPv6 address
        why = str(error)

    if why:
        raise UserError("the base URL is not understood", why=why, fix="Give for example http://localhost:8000/v1")


class Client:
    """Asks one endpoint; to be used as an async context manager. `requests` and `tokens` are what was spent."""

    def __init__(self, endpoint: Endpoint, cache: AnswerCache, *, refresh: bool = False) -> None:
        self.endpoint, self.cache, self.refresh = endpoint, cache, refresh
        self.requests, self.tokens, self.from_cache = 0, 0, 0
        self.broken = ""  # why the endpoint is no longer asked
        self._failures = 0
        self._id = content_hash([endpoint.base_url, endpoint.model])
        self._rung = cache.rung(self._id)
        self._refused: set[str] = set()  # sampling parameters that this model does not take

    async def __aenter__(self) -> Client:
        from openai import AsyncOpenAI

        self._sdk = AsyncOpenAI(
            api_key=self.endpoint.api_key, base_url=self.endpoint.base_url, timeout=self.endpoint.timeout, max_retries=0
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sdk.close()

    async def ask(self, messages: Messages, schema: Mapping[str, Any], parse: Callable[[str], T], max_tokens: int) -> T:
        """The parsed answer. An answer that `parse` refuses is asked for once more, with what was wrong, one rung down.

        Raises InvalidAnswer (twice no valid answer), EndpointError (no answer) or BudgetSpent.
        """
        rung = self._rung or 0
        content = await self._answer(messages, schema, rung, max_tokens)
        try:
            return parse(content)
        except InvalidAnswer as error:
            repair = repair_messages(messages, content, str(error))
        return parse(await self._answer(repair, schema, min(rung + 1, len(RUNGS) - 1), max_tokens))

    async def _answer(self, messages: Messages, schema: Mapping[str, Any], rung: int, max_tokens: int) -> str:
        sampling_values = sampling(max_tokens)
        key = answer_key(self.endpoint.model, messages, sampling_values)
        cached = None if self.refresh else self.cache.get(key)
        if cached is not None:
            self.from_cache += 1
            return cached

        while True:
            try:
                start = time.monotonic()
                raw = await self._with_retries(messages, _response_format(rung, schema), sampling_values)
                break
            except _Rejected as error:
                if rung == len(RUNGS) - 1:
                    raise self._failed(str(error)) from error
                rung += 1

        read = _read(raw)
        if read is None:
            raise self._failed("the answer is no chat completion: is the base URL right, with its /v1?")
        self._failures = 0
        if self._rung is None:
            self._rung = rung
            self.cache.set_rung(self._id, rung)

        content, usage = read
        reported = usage.get("total_tokens")
        self.tokens += (
            reported
            if isinstance(reported, int) and reported > 0
            else estimate_tokens([*messages, {"content": content}])
        )

        self.cache.put(key, self.endpoint.model, content, raw, usage, time.monotonic() - start)
        return content

    async def _with_retries(
        self, messages: Messages, response_format: dict[str, Any] | None, sampling_values: Mapping[str, Any]
    ) -> str:
        """The body of the response. Waits and tries again after what may pass: 429, 5xx, no connection, no answer."""
        import openai

        problem = ""
        for attempt in range(self.endpoint.tries):
            if self.broken:
                raise EndpointError(self.broken)
            self._spend(messages)
            wait = min(self.endpoint.backoff * 2**attempt, _LONGEST_WAIT)
            sent = set(sampling_values) - self._refused
            try:
                async with asyncio.timeout(self.endpoint.timeout):
                    return await self._send(messages, response_format, sampling_values)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                named = {p for p in sent if p in str(error)} if _UNSUPPORTED.search(str(error)) else set()
                if not named:
                    raise _Rejected(self._told(error)) from error
                self._refused |= named
                problem, wait = self._told(error), 0.0
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                self.broken = self._told(error)
                raise EndpointError(self.broken) from error
            except openai.APIStatusError as error:
                problem = self._told(error)
                if response_format is not None and "response_format" in str(error):  # llama-cpp-python says so by a 500
                    raise _Rejected(problem) from error
                if error.status_code not in (408, 409, 429) and error.status_code < 500:
                    raise self._failed(problem) from error
                if "insufficient_quota" in str(error):
                    self.broken = problem
                wait = _retry_after(error.response.headers.get("retry-after"), wait)
            except (TimeoutError, openai.APITimeoutError):
                problem = f"no answer within {self.endpoint.timeout:g} s"
            except openai.APIConnectionError as error:
                problem = f"no connection: {plain(str(error.__cause__ or error))[:160]}"
            except openai.OpenAIError as error:
                problem = self._told(error)
            if attempt + 1 < self.endpoint.tries:
                await asyncio.sleep(wait)
        raise self._failed(problem)

    def _failed(self, problem: str) -> EndpointError:
        """The error to raise; after several in a row the endpoint is not asked any more."""
        self._failures += 1
        if self._failures >= _GIVE_UP_AFTER and not self.broken:
            self.broken = f"given up after {self._failures} requests in a row without an answer; the last: {problem}"
        return EndpointError(problem)

    async def _send(
        self, messages: Messages, response_format: dict[str, Any] | None, sampling_values: Mapping[str, Any]
    ) -> str:
        taken: dict[str, Any] = {name: value for name, value in sampling_values.items() if name not in self._refused}
        if "max_tokens" in self._refused:  # newer models of OpenAI take it under another name
            taken["max_completion_tokens"] = max(sampling_values["max_tokens"], _REASONING_TOKENS)
        if response_format is not None:
            taken["response_format"] = response_format
        create: Any = self._sdk.chat.completions.with_raw_response.create
        response = await create(model=self.endpoint.model, messages=messages, **taken)
        text: str = response.text
        return text

    def _spend(self, messages: Messages) -> None:
        if self.requests >= self.endpoint.max_requests:
            raise BudgetSpent(f"the cap of {self.endpoint.max_requests:,} requests is reached")
        if self.tokens + estimate_tokens(messages) > self.endpoint.max_tokens:
            raise BudgetSpent(f"the cap of {self.endpoint.max_tokens:,} tokens is reached")
        self.requests += 1

    def _told(self, error: Exception) -> str:
        """What the server said, one short line without the key."""
        key = self.endpoint.api_key
        return (plain(str(error)).replace(key, "***") if len(key) > 6 else plain(str(error)))[:200]


def sampling(max_tokens: int) -> dict[str, Any]:
    """The parameters that every request asks for: the most likely answer, the same each time where a server can."""
    return {"temperature": 0, "seed": 0, "max_tokens": max_tokens}


def _response_format(rung: int, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    if RUNGS[rung] == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}
    if RUNGS[rung] == "json_object with schema":
        return {"type": "json_object", "schema": dict(schema)}
    return {"type": "json_object"} if RUNGS[rung] == "json_object" else None


def _read(raw: str) -> tuple[str, Mapping[str, Any]] | None:
    """(what the model said, usage) of a response's body, None if it is no chat completion.

    An empty or refused answer is the empty text.
    """
    try:
        body = json.loads(raw)
        choices = body["choices"]
        content = choices[0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    usage = body.get("usage")
    text = content if isinstance(content, str) else ""
    return text.encode("utf-8", "replace").decode(), usage if isinstance(usage, dict) else {}


def _retry_after(header: str | None, otherwise: float) -> float:
    """Seconds that a server asks to wait for: a number or a date; at least `otherwise`, at most a minute."""
    if header is None:
        return otherwise
    seconds = otherwise
    try:
        seconds = float(header)
    except ValueError:
        with contextlib.suppress(ValueError, TypeError):
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    return min(max(seconds, otherwise), _LONGEST_WAIT) if seconds == seconds else otherwise


def estimate_tokens(text: str | Messages) -> int:
    """Rough number of tokens: a quarter of the bytes."""
    whole = text if isinstance(text, str) else "".join(m["content"] for m in text)
    return len(whole.encode()) // 4 + 1
