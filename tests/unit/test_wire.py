import time
from email.utils import formatdate

import orjson
import pytest

from promptopt.backends.base import Request
from promptopt.backends.pace import retry_after_s
from promptopt.backends.wire import MalformedError, TurnedAwayError, read_failure, read_models, read_reply
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
        (400, "max_tokens is not supported with this model", "unsupported_parameter", BackendError),
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


def test_models() -> None:
    listed = {"data": [{"id": "a", "root": "/m/a"}, {"id": "b"}]}
    assert read_models(orjson.dumps(listed)) == {"a": "/m/a", "b": ""}
    assert read_models(b"[]") == read_models(b"no") == read_models(b'{"data": null}') == {}


def test_retry_after() -> None:
    assert retry_after_s("1.5") == 1.5
    assert retry_after_s(formatdate(time.time() + 10, usegmt=True)) == pytest.approx(10, abs=1.5)
    assert [retry_after_s(value) for value in (None, "", "-3", "nan", "soon", formatdate(0, usegmt=True))] == [0.0] * 6
