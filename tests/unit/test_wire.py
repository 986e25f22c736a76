import time
from email.utils import formatdate

import orjson
import pytest

from promptopt.backends.base import Reply, Request
from promptopt.backends.dialect import Dialect
from promptopt.backends.pace import retry_after_s
from promptopt.backends.wire import (
    PLAIN,
    MalformedError,
    TurnedAwayError,
    UnsupportedError,
    read_failure,
    read_models,
    read_reply,
    write_request,
)
from promptopt.errors import BackendError, ContextLengthError, FatalBackendError, RefusedError, TransientError
from promptopt.layout import Message

REQUEST = Request("chat", (Message("user", "x"),))


def failed(status: int, message: str = "", code: str = "", key: str = "") -> BackendError:
    return read_failure(status, orjson.dumps({"error": {"message": message, "code": code}}), key)


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (429, "slow down", "rate_limit_exceeded", TurnedAwayError),
        (429, "no money", "insufficient_quota", FatalBackendError),
        (408, "", "", TransientError),
        (529, "overloaded", "", TransientError),
        (400, "", "context_length_exceeded", ContextLengthError),
        (400, "the request exceeds the available context size", "", ContextLengthError),
        (400, "Input is too long for requested model", "", ContextLengthError),
        (413, "", "", ContextLengthError),
        (400, "", "content_filter", RefusedError),
        (400, "'max_tokens' is not supported with this model.", "unsupported_parameter", UnsupportedError),
        (400, "'temperature' does not support 0.0 with this model.", "unsupported_value", UnsupportedError),
        (400, "O-series models don't support temperature=0.0.", "", UnsupportedError),
        (400, "'top_k' is not supported with this model.", "unsupported_parameter", BackendError),
        (400, "max_tokens is too large: 5000. This model supports at most 4096.", "", BackendError),
        (401, "", "", FatalBackendError),
        (404, "no model", "model_not_found", FatalBackendError),
    ],
)
def test_failures(status: int, message: str, code: str, kind: type[BackendError]) -> None:
    assert type(failed(status, message, code)) is kind


def test_what_a_server_says_is_quoted_short_and_without_keys() -> None:
    said = str(failed(500, "Key hush-hush and sk-abcdef123 are " + "bad " * 500, key="hush-hush"))
    assert "hush" not in said
    assert "sk-a" not in said
    assert len(said) < 400
    assert "html" not in str(read_failure(502, b"<HTML><body>Bad gateway</body></html>"))
    assert str(read_failure(500, b"\xff\xfe plain")).endswith("plain")
    assert str(read_failure(500, b'{"detail": "here"}')).endswith("here")
    assert str(read_failure(500, b'{"error": "there."}')).endswith("there")


@pytest.mark.parametrize(
    "body", [None, [], 3, {}, {"choices": None}, {"choices": []}, {"choices": [1]}, {"choices": [{}]}]
)
def test_what_is_no_answer(body: object) -> None:
    with pytest.raises(MalformedError):
        read_reply(orjson.dumps(body), REQUEST)


@pytest.mark.parametrize(
    "usage", [None, 3, {"prompt_tokens": None}, {"prompt_tokens_details": None}, {"completion_tokens": -1}]
)
def test_odd_usage_does_no_harm(usage: object) -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": None}], "usage": usage}
    reply = read_reply(orjson.dumps(body), REQUEST)
    assert (reply.status, reply.text, reply.usage.tokens) == ("ok", "hi", 0)


def written(dialect: Dialect, mode: str = "chat", **more: object) -> dict[str, object]:
    role = "user" if mode == "chat" else "text"
    request = Request(mode, (Message(role, "x"),), **more)  # type: ignore[arg-type]
    return dict(orjson.loads(write_request(request, "m", dialect)))


def test_a_reasoning_model_is_told_nothing_that_it_refuses() -> None:
    body = written(Dialect(reasoning=True), max_tokens=9, stop=("\n",), seed=1)
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_completion_tokens": 9,
        "seed": 1,
    }
    assert written(Dialect(reasoning=True), mode="completion")["max_tokens"] == 16


def test_the_users_fields_go_into_every_request() -> None:
    dialect = Dialect.of("m", body='{"response_format": {"type": "json_object"}, "top_p": 0.9}')
    for mode in ("chat", "completion"):
        body = written(dialect, mode)
        assert (body["response_format"], body["top_p"]) == ({"type": "json_object"}, 0.9)
        assert {"model", "max_tokens", "temperature"} < set(body)


def said(message: dict[str, object], finish: str = "stop", dialect: Dialect = PLAIN, **more: object) -> Reply:
    request = Request("chat", (Message("user", "x"),), **more)  # type: ignore[arg-type]
    return read_reply(orjson.dumps({"choices": [{"message": message, "finish_reason": finish}]}), request, dialect)


@pytest.mark.parametrize(
    ("message", "finish", "status", "text"),
    [
        ({"content": "<think>hm, 3?</think>\n\n4"}, "stop", "ok", "4"),
        ({"content": "<think>hm, 3?"}, "length", "truncated", ""),
        ({"content": "<think>hm, 3?"}, "stop", "truncated", ""),
        ({"content": "4", "reasoning_content": "hm, 3?"}, "stop", "ok", "4"),
        ({"content": None, "reasoning_content": "hm, 3?"}, "length", "truncated", ""),
        ({"content": None, "reasoning": "hm, 3?"}, "stop", "ok", ""),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}]}, "stop", "ok", "4"),
    ],
)
def test_thoughts_are_no_part_of_the_answer(message: dict[str, object], finish: str, status: str, text: str) -> None:
    reply = said(message, finish)
    assert (reply.status, reply.text) == (status, text)


def test_thoughts_stay_where_the_user_says_that_there_are_none() -> None:
    assert said({"content": "<think>a</think>b"}, dialect=Dialect.of("m", "false")).text == "<think>a</think>b"


def test_a_stop_string_that_was_not_sent_ends_the_answer_all_the_same() -> None:
    thinker = Dialect(reasoning=True)
    assert said({"content": "<think>a\nb</think>yes\nno"}, dialect=thinker, stop=("\n",)).text == "yes"


def test_calls_of_tools_are_answers() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": 3}'}}
    odd = {"function": {"name": "wait", "arguments": "no JSON"}}
    one = said({"content": None, "tool_calls": [call]}, "tool_calls")
    two = said({"content": "", "tool_calls": [call, odd]}, "tool_calls")
    assert (one.status, orjson.loads(one.text)) == ("ok", {"name": "look", "arguments": {"at": 3}})
    assert orjson.loads(two.text)[1] == {"name": "wait", "arguments": "no JSON"}


@pytest.mark.parametrize("content", [3, {"text": "x"}, [{"type": "text"}], ["x"]])
def test_what_is_no_text(content: object) -> None:
    with pytest.raises(MalformedError):
        said({"content": content})


def test_models() -> None:
    listed = {"data": [{"id": "a", "root": "/m/a"}, {"id": "b"}]}
    assert read_models(orjson.dumps(listed)) == {"a": "/m/a", "b": ""}
    assert read_models(b"[]") == read_models(b"no") == read_models(b'{"data": null}') == {}


def test_retry_after() -> None:
    assert retry_after_s("1.5") == 1.5
    assert retry_after_s(formatdate(time.time() + 10, usegmt=True)) == pytest.approx(10, abs=1.5)
    assert [retry_after_s(value) for value in (None, "", "-3", "nan", "soon", formatdate(0, usegmt=True))] == [0.0] * 6
