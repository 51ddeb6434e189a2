"""The client against a server that misbehaves: every failure is one of three exceptions, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import JSON, Behaviour, Reply, Server, fails, in_turn, says

from pretilt.errors import UserError
from pretilt.labels.answers import InvalidAnswer, parse_label
from pretilt.labels.cache import AnswerCache, answer_key
from pretilt.labels.client import BudgetSpent, Client, Endpoint, EndpointError, _retry_after, find_endpoint
from pretilt.labels.prompts import LABEL_SCHEMA

pytest.importorskip("openai")

MESSAGES = [{"role": "user", "content": "name it"}]
GOOD = says('{"label": "links to websites"}')


def form_of(body: dict[str, Any]) -> str:
    """The form of structured output that a request asks for."""
    form = body.get("response_format", {})
    return form.get("type", "prompt") + "+" * ("schema" in form)


class Asked:
    """What came of asking once or several times, and what the server saw."""

    def __init__(self, server: Server, answers: list[Any], client: Client) -> None:
        self.server, self.answers, self.client = server, answers, client

    @property
    def forms(self) -> list[str]:
        return [form_of(body) for body in self.server.requests]


def ask(path: Path, behaviour: Behaviour, *prompts: str, refresh: bool = False, **options: Any) -> Asked:
    """Ask for a label for every prompt, one after the other, with a fresh client; errors are answers too."""
    options = {"timeout": 2.0, "backoff": 0.01, "tries": 3, **options}

    async def all_of_them(url: str) -> tuple[list[Any], Client]:
        answers: list[Any] = []
        async with Client(Endpoint("m", url, "sk-secret", **options), cache, refresh=refresh) as client:
            for prompt in prompts or ("name it",):
                try:
                    messages = [{"role": "user", "content": prompt}]
                    answers.append(await client.ask(messages, LABEL_SCHEMA, parse_label, 50))
                except (InvalidAnswer, EndpointError, BudgetSpent) as error:
                    answers.append(error)
        return answers, client

    path.mkdir(exist_ok=True)
    cache = AnswerCache(path / "cache.sqlite")
    try:
        with Server(behaviour) as server:
            return Asked(server, *asyncio.run(all_of_them(server.url)))
    finally:
        cache.close()


def test_a_good_answer_takes_one_request_with_the_schema(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn(GOOD))
    assert asked.answers == ["links to websites"]
    assert asked.forms == ["json_schema"]
    assert asked.server.requests[0]["response_format"]["json_schema"]["schema"] == LABEL_SCHEMA
    assert asked.server.requests[0]["temperature"] == 0
    assert asked.client.tokens == 10


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_what_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    asked = ask(tmp_path, in_turn(fails(status), fails(status), GOOD))
    assert asked.answers == ["links to websites"]
    assert len(asked.server.requests) == 3


def test_retry_after_is_heeded(tmp_path: Path) -> None:
    start = time.monotonic()
    asked = ask(tmp_path, in_turn(fails(429, headers={"retry-after": "0.4"}), GOOD))
    assert asked.answers == ["links to websites"]
    assert time.monotonic() - start >= 0.4


def test_retry_after_may_be_a_date_or_nonsense_and_never_holds_for_ever() -> None:
    assert _retry_after("7", 1.0) == 7
    assert _retry_after("0", 1.0) == 1
    assert _retry_after("86400", 1.0) == 60
    assert _retry_after("Fri, 01 Jan 2100 00:00:00 GMT", 1.0) == 60
    assert _retry_after("Fri, 01 Jan 1999 00:00:00 GMT", 1.0) == 1
    for nonsense in (None, "soon", "nan", "-3", ""):
        assert _retry_after(nonsense, 1.0) == 1


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    start = time.monotonic()
    asked = ask(tmp_path, in_turn(3.0), timeout=0.2, tries=2)
    assert isinstance(asked.answers[0], EndpointError)
    assert "no answer within 0.2 s" in str(asked.answers[0])
    assert time.monotonic() - start < 2.5


def test_a_hang_that_passes_costs_one_try(tmp_path: Path) -> None:
    assert ask(tmp_path, in_turn(1.0, GOOD), timeout=0.3).answers == ["links to websites"]


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"content-type": "text/html"}, b"<html><h1>Welcome</h1></html>"),
        (200, JSON, b'{"choices": []}'),
        (200, JSON, b'{"error": {"message": "upstream"}}'),
        (200, JSON, b"[1, 2"),
        (200, JSON, b'{"choices": [{"message": "text"}]}'),
        (200, JSON, b"null"),
    ],
)
def test_what_is_no_chat_completion_is_an_endpoint_error(tmp_path: Path, reply: Reply) -> None:
    error = ask(tmp_path, in_turn(reply)).answers[0]
    assert isinstance(error, EndpointError)
    assert "base URL" in str(error)


@pytest.mark.parametrize(
    "content", ["no JSON here", '{"name": "x"}', '{"label": 3}', "", None, '{"label": "', "{" * 9000]
)
def test_an_invalid_answer_is_asked_for_once_more_with_the_error(tmp_path: Path, content: str | None) -> None:
    asked = ask(tmp_path, in_turn(says(content), GOOD))
    assert asked.answers == ["links to websites"]
    assert asked.forms == ["json_schema", "json_object+"]  # the second time one rung lower
    assert "not valid" in asked.server.requests[1]["messages"][-1]["content"]


def test_invalid_twice_is_two_requests_and_no_label(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn(says("never")))
    assert isinstance(asked.answers[0], InvalidAnswer)
    assert len(asked.server.requests) == 2
    again = ask(tmp_path, in_turn(GOOD))  # the same question would get the same answer: it is not paid for again
    assert isinstance(again.answers[0], InvalidAnswer)
    assert again.server.requests == []


def picky(*refused: str) -> Behaviour:
    """A server that answers 400 to these forms of structured output."""

    def behave(body: dict[str, Any]) -> Reply:
        form = form_of(body)
        return fails(400, f"response_format {form} is not supported") if form in refused else GOOD

    return behave


def test_the_ladder_goes_down_and_the_rung_is_remembered(tmp_path: Path) -> None:
    first = ask(tmp_path, picky("json_schema"), "one", "two")
    assert first.forms == ["json_schema", "json_object+", "json_object+"]
    second = ask(tmp_path / "second", picky("json_schema", "json_object+"), "one", "two")
    assert second.forms == ["json_schema", "json_object+", "json_object", "json_object"]
    third = ask(tmp_path / "third", picky("json_schema", "json_object+", "json_object"), "one", "two")
    assert third.forms == ["json_schema", "json_object+", "json_object", "prompt", "prompt"]
    assert first.answers == second.answers == third.answers == ["links to websites"] * 2


def test_a_server_that_breaks_over_the_form_is_one_that_does_not_take_it(tmp_path: Path) -> None:
    def breaks(body: dict[str, Any]) -> Reply:
        kind = body.get("response_format", {}).get("type")
        return fails(500, "literal_error: body, response_format, type") if kind == "json_schema" else GOOD

    asked = ask(tmp_path, breaks, "one", "two")
    assert asked.answers == ["links to websites"] * 2
    assert asked.forms == ["json_schema", "json_object+", "json_object+"]


def test_the_rung_outlives_the_process(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "c.sqlite")
    cache.set_rung("here", 2)
    cache.close()
    assert AnswerCache(tmp_path / "c.sqlite").rung("here") == 2
    assert AnswerCache(tmp_path / "c.sqlite").rung("there") is None


def test_a_request_no_rung_helps_is_an_error_and_teaches_nothing(tmp_path: Path) -> None:
    def too_long(body: dict[str, Any]) -> Reply:
        return fails(400, "context length exceeded") if body["messages"][0]["content"] == "long" else GOOD

    asked = ask(tmp_path, too_long, "long", "short")
    assert "context length" in str(asked.answers[0])
    assert asked.answers[1] == "links to websites"
    assert asked.forms == ["json_schema", "json_object+", "json_object", "prompt", "json_schema"]


def test_a_model_that_takes_other_parameters_is_given_them(tmp_path: Path) -> None:
    def modern(body: dict[str, Any]) -> Reply:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return fails(400, f"Unsupported parameter: '{name}' is not supported with this model")
        return GOOD

    asked = ask(tmp_path, modern, "one", "two")
    assert asked.answers == ["links to websites"] * 2
    assert asked.forms == ["json_schema"] * 4  # two refusals, then as learnt
    assert asked.server.requests[-1]["max_completion_tokens"] >= 50


def test_a_message_that_only_mentions_a_parameter_changes_nothing(tmp_path: Path) -> None:
    def long_prompt(body: dict[str, Any]) -> Reply:
        if body["messages"][0]["content"] == "long":
            return fails(400, "maximum context length is 64 tokens, however you requested 60 and max_tokens=50")
        return GOOD

    asked = ask(tmp_path, long_prompt, "long", "short")
    assert asked.answers[1] == "links to websites"
    assert asked.server.requests[-1]["max_tokens"] == 50


@pytest.mark.parametrize("usage", [None, {}, [], "many", {"total_tokens": "many"}, {"total_tokens": -4}])
def test_usage_that_says_nothing_is_estimated(tmp_path: Path, usage: Any) -> None:
    body = json.loads(GOOD[2]) | {"usage": usage}
    asked = ask(tmp_path, in_turn((200, JSON, json.dumps(body).encode())))
    assert asked.answers == ["links to websites"]
    assert asked.client.tokens > 5


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_not_pass_is_asked_once_for_the_whole_run(tmp_path: Path, status: int) -> None:
    asked = ask(tmp_path, in_turn(fails(status, "bad key sk-secret")), "one", "two", "three")
    assert [type(a) for a in asked.answers] == [EndpointError] * 3
    assert len(asked.server.requests) == 1
    assert "sk-secret" not in str(asked.answers)


def test_a_dead_endpoint_is_given_up_after_three_requests(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn(fails(500)), *"abcdef", tries=2)
    assert len(asked.server.requests) == 6
    assert "given up" in str(asked.answers[-1])


def test_a_web_page_in_the_place_of_a_server_is_given_up_too(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn((200, {"content-type": "text/html"}, b"<html></html>")), *"abcdef")
    assert len(asked.server.requests) == 3
    assert "given up" in str(asked.answers[-1])


def test_failures_that_are_not_in_a_row_do_not_count(tmp_path: Path) -> None:
    replies = [fails(418), fails(418), GOOD] * 3
    asked = ask(tmp_path, in_turn(*replies, GOOD), *"abcdefghi")
    assert [isinstance(a, str) for a in asked.answers] == [False, False, True] * 3


def test_an_empty_account_is_not_asked_again(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn(fails(429, "You exceeded your quota: insufficient_quota")), "a", "b")
    assert len(asked.server.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with Server(in_turn(GOOD)) as server:
        url = server.url

    async def once() -> None:
        async with Client(Endpoint("m", url, backoff=0.01, tries=2), cache) as client:
            await client.ask(MESSAGES, LABEL_SCHEMA, parse_label, 50)

    cache = AnswerCache(tmp_path / "c.sqlite")
    with pytest.raises(EndpointError, match="no connection"):
        asyncio.run(once())
    cache.close()


def test_the_caps_are_hard(tmp_path: Path) -> None:
    asked = ask(tmp_path, in_turn(GOOD), "one", "two", "three", max_requests=2)
    assert asked.answers[:2] == ["links to websites"] * 2
    assert isinstance(asked.answers[2], BudgetSpent)
    assert len(asked.server.requests) == 2
    retries = ask(tmp_path / "other", in_turn(fails(500)), "x", max_requests=2, tries=5)
    assert len(retries.server.requests) == 2  # tries count
    tokens = ask(tmp_path, in_turn(says('{"label": "dear"}', tokens=900)), "a", "b", "c", max_tokens=1000)
    assert [type(a) for a in tokens.answers] == [str, str, BudgetSpent]


def test_answers_come_from_the_cache_whatever_the_host_and_key_unless_refreshed(tmp_path: Path) -> None:
    ask(tmp_path, in_turn(GOOD))
    again = ask(tmp_path, in_turn(says('{"label": "another"}')))  # another port
    assert (again.answers, again.server.requests, again.client.from_cache) == (["links to websites"], [], 1)
    anew = ask(tmp_path, in_turn(says('{"label": "another"}')), refresh=True)
    assert anew.answers == ["another"]
    assert ask(tmp_path, in_turn(GOOD)).answers == ["another"]


def test_the_key_tells_everything_apart_that_changes_an_answer() -> None:
    base = ("m", MESSAGES, {"temperature": 0})
    others = [("n", *base[1:]), ("m", [*MESSAGES, *MESSAGES], base[2]), (*base[:2], {"temperature": 1})]
    assert len({answer_key(*base), *(answer_key(*other) for other in others)}) == 4


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"nonsense" * 500)
    with pytest.raises(UserError, match=r"c\.sqlite"):
        AnswerCache(tmp_path / "c.sqlite")


def test_a_lone_surrogate_in_an_answer_is_survived(tmp_path: Path) -> None:
    body = json.loads(says("x")[2])
    body["choices"][0]["message"]["content"] = '{"label": "caf\ud800 links"}'
    asked = ask(tmp_path, in_turn((200, JSON, json.dumps(body).encode())))
    assert asked.answers == ["caf? links"]


def test_which_endpoint_is_meant() -> None:
    assert find_endpoint(None, None, "OPENAI_API_KEY", {"OPENAI_API_KEY": "k"}) is None  # a key alone sends nothing
    local = find_endpoint("m", None, "OPENAI_API_KEY", {"OPENAI_API_BASE": "http://localhost:8000/v1"})
    assert local is not None
    assert (local.base_url, local.api_key) == ("http://localhost:8000/v1", "not-needed")
    both = {"OPENAI_BASE_URL": "http://a/v1", "OPENAI_API_BASE": "http://b/v1", "OPENAI_API_KEY": "k"}
    named = find_endpoint("m", None, "OPENAI_API_KEY", both)
    assert named is not None
    assert (named.base_url, named.api_key) == ("http://a/v1", "k")
    assert "'k'" not in repr(named)
    for url in ("localhost:8000/v1", "ftp://x/v1", "http:///v1"):
        with pytest.raises(UserError, match="base URL"):
            find_endpoint("m", url, "OPENAI_API_KEY", {})
    for arguments in [("m", None, "OPENAI_API_KEY"), ("m", "http://a/v1", "MY_KEY"), (None, "http://a/v1", "X")]:
        with pytest.raises(UserError):
            find_endpoint(*arguments, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:99999/v1", "http://localhost:abc/v1", "http://localhost:0/v1", "http://[::1/v1",
        "localhost:80", "ftp://host/v1", "http:///v1", "http://ho st/v1", "http://host/\x1b[0m", "http://user:secret@host/v1",
    ],
)  # fmt: skip
def test_base_url_that_no_server_can_have(url: str) -> None:
    from pretilt.rollouts.source import find_endpoint as rollouts_endpoint

    with pytest.raises(UserError, match="the base URL is not understood"):
        find_endpoint("model", url, "NO_KEY", {})
    with pytest.raises(UserError, match="the base URL is not understood") as caught:
        rollouts_endpoint(url, "model", "NO_KEY", 1)
    assert "secret" not in str(caught.value)
