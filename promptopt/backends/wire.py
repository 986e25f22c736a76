"""The OpenAI-compatible wire: how a request is written and how an answer, good or bad, is read.

Pure functions over bytes, so that every backend that speaks this format reads it alike; of an answer only the first
choice and the usage are looked at.
"""

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from promptopt.backends.base import Reply, Request
from promptopt.backends.dialect import Dialect, cut_at_stop, cut_thinking
from promptopt.budget import Usage
from promptopt.errors import BackendError, ContextLengthError, FatalBackendError, RefusedError, TransientError

TOP_LOGPROBS = 20
PLAIN = Dialect()

_TRANSIENT = frozenset({408, 409, 425})
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")
_TOO_LONG = re.compile(r"context.?(length|window|size)|maximum.{0,20}(length|tokens)|too (long|many tokens)", re.I)
_UNSUPPORTED = re.compile(r"(?=.*(max_tokens|temperature|'stop'))(?=.*(unsupported|n[o']t support))", re.I | re.DOTALL)
_KEY_LIKE = re.compile(r"\b(sk[-_]|Bearer\s)\S{4,}", re.I)
_QUOTE = 300


class UnsupportedError(BackendError):
    """The model does not take a field that most models take."""


class UnreachableError(TransientError):
    """No connection could be opened at all."""


class TurnedAwayError(TransientError):
    """The server has no room for the request now."""


class LostError(TransientError):
    """Nothing usable came back, and the call may have to be paid all the same.

    Args:
        reason: What happened.
        usage: What it took, where that is known.
    """

    def __init__(self, reason: str, usage: Usage | None = None) -> None:
        super().__init__(reason)
        self.usage = usage if usage and usage.tokens else None


class OverdueError(LostError):
    """The answer took longer than answers do."""


class MalformedError(LostError):
    """The answer is not in the format; worth another try or two."""


class CutError(MalformedError):
    """The answer was cut though there was room for more; where that is the model's window it will be so again.

    Args:
        text: What came.
        usage: What it took.
    """

    def __init__(self, text: str, usage: Usage) -> None:
        super().__init__("cuts the answer before its limit", usage)
        self.text = text


def path_of(request: Request) -> str:
    """Return the route that takes this request, below the base URL."""
    return "/chat/completions" if request.mode == "chat" else "/completions"


def write_request(request: Request, model: str, dialect: Dialect = PLAIN) -> bytes:
    """Return the body of the call."""
    chat = request.mode == "chat"
    body: dict[str, Any] = {"model": model}
    if chat:
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
    else:
        body["prompt"] = "".join(message.content for message in request.messages)
    limit = "max_completion_tokens" if dialect.reasoning and chat else "max_tokens"
    body[limit] = 1 if request.choices else request.max_tokens
    if not dialect.reasoning:
        body["temperature"] = request.temperature
    if request.choices:
        body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if chat else {"logprobs": TOP_LOGPROBS}
    else:
        if request.stop and not dialect.reasoning:
            body["stop"] = request.stop
        if request.seed is not None:
            body["seed"] = request.seed
    body.update(dialect.extra)
    return orjson.dumps(body)


def read_reply(payload: bytes, request: Request, dialect: Dialect = PLAIN) -> Reply:
    """Read the answer to a request that the server took.

    Raises:
        MalformedError: It is not the JSON of an answer.
        CutError: It is cut, and not by the limit that was set.
    """
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise MalformedError("gives an answer that is not JSON") from None
    if not isinstance(body, dict):
        raise MalformedError("gives an answer that is not a JSON object")
    usage = read_usage(body.get("usage"))
    choice = _first(body.get("choices"))
    if choice is None:
        raise MalformedError("gives an answer without choices", usage)
    try:
        return _read_choice(choice, request, usage, dialect)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        raise MalformedError("gives an answer whose choice is not in the expected form", usage) from None


def read_failure(status: int, payload: bytes, key: str = "") -> BackendError:
    """Return the error that a status other than 200 stands for; its text quotes the server, never the key.

    Args:
        status: The HTTP status.
        payload: The body that came with it.
        key: The key that was sent, to be struck out of the quotation.
    """
    code, said = _explanation(payload, key)
    if status in (401, 407):
        return FatalBackendError(f"refuses the key ({status})")
    if status in (402, 403) or any(name in code for name in _NO_CREDIT):
        return FatalBackendError(f"denies access ({status}){said}")
    if status in (429, 503):
        return TurnedAwayError(f"has no room ({status}){said}")
    if status in _TRANSIENT or status >= 500:
        return TransientError(f"answers with status {status}{said}")
    if status in (404, 405) or 300 <= status < 400:
        return FatalBackendError(f"has no such model or route ({status}){said}")
    if _UNSUPPORTED.search(said):
        return UnsupportedError(f"does not accept the request ({status}){said}")
    if "content_filter" in code or "content_policy" in code:
        return RefusedError(f"declines the request{said}")
    if status == 413 or "context" in code or _TOO_LONG.search(said):
        return ContextLengthError(f"finds the request too long for the model{said}")
    return BackendError(f"does not accept the request ({status}){said}")


def read_models(payload: bytes) -> dict[str, str]:
    """Return the models that a server offers, by name, each with the root it was loaded from (empty if untold)."""
    try:
        entries = orjson.loads(payload)["data"]
        return {str(entry["id"]): str(entry.get("root") or "") for entry in entries}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}


def _read_choice(choice: Mapping[str, Any], request: Request, usage: Usage, dialect: Dialect) -> Reply:
    message = choice["message"] if request.mode == "chat" else {"content": choice["text"]}
    finish = choice.get("finish_reason")
    if refusal := message.get("refusal"):
        return Reply("refused", str(refusal), usage)
    if finish == "content_filter":
        return Reply("refused", message.get("content") or "", usage, error="The answer was held back by a filter.")
    if request.choices:
        return _likeliest(_top(choice, request), request.choices, usage)
    text, cut = _text(message, finish), finish == "length"
    if dialect.cuts:
        text, endless = cut_thinking(text)
        cut = cut or endless
    if dialect.reasoning:
        text = cut_at_stop(text, request.stop)
    if finish == "length" and 0 < usage.completion_tokens < request.max_tokens:
        raise CutError(text, usage)
    return Reply("truncated" if cut else "ok", text, usage)


def _text(message: Mapping[str, Any], finish: str | None) -> str:
    """Return what the model wrote, or which tools it called; what it thought stands in a field of its own."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part["type"] == "text")
    if not content and (calls := message.get("tool_calls")):
        return _write_calls(calls)
    thought = message.get("reasoning_content") or message.get("reasoning") or finish == "length"
    if not isinstance(content, str) or (message.get("content") is None and not thought):
        raise TypeError("there is no text")
    return content


def _write_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    """Return calls of tools as JSON: an object if there is one, a list if there are more."""
    said = []
    for call in calls:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        with contextlib.suppress(orjson.JSONDecodeError):
            arguments = orjson.loads(arguments)
        said.append({"name": name, "arguments": arguments})
    return orjson.dumps(said[0] if len(said) == 1 else said).decode()


def _top(choice: Mapping[str, Any], request: Request) -> list[tuple[str, float]]:
    """Return the likeliest first tokens with their log-probabilities."""
    if request.mode == "chat":
        first = choice["logprobs"]["content"][0]
        return [(str(entry["token"]), float(entry["logprob"])) for entry in first["top_logprobs"]]
    return [(str(token), float(logprob)) for token, logprob in choice["logprobs"]["top_logprobs"][0].items()]


def _likeliest(top: Sequence[tuple[str, float]], choices: Sequence[str], usage: Usage) -> Reply:
    """Return the choice that begins with the likeliest token that begins any."""
    for token, _ in sorted(top, key=lambda entry: -entry[1]):
        begun = [choice for choice in choices if token.strip() and choice.strip().startswith(token.strip())]
        if len(begun) == 1:
            return Reply("ok", begun[0], usage, chances=_chances(top, choices))
        if begun:
            error = f"The choices {begun[0]!r} and {begun[1]!r} begin with the same token; use scoring = generate."
            return Reply("failed", usage=usage, error=error)
    return Reply("failed", usage=usage, error=f"None of the choices is among the {len(top)} likeliest tokens.")


def _chances(top: Sequence[tuple[str, float]], choices: Sequence[str]) -> tuple[float, ...]:
    """Return the probability of the first tokens that are a whole choice; empty where a choice is longer than that."""
    mass = dict.fromkeys((choice.strip() for choice in choices), 0.0)
    for token, logprob in top:
        if token.strip() in mass:
            mass[token.strip()] += math.exp(logprob)
    return tuple(mass.values()) if len(mass) == len(choices) and all(len(choice) == 1 for choice in mass) else ()


def read_usage(value: Any) -> Usage:
    """Return what an answer's ``usage`` says that it took; what is missing or odd counts as 0."""
    if not isinstance(value, dict):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_count(value.get("prompt_tokens")), _count(value.get("completion_tokens")), _count(cached))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _first(choices: Any) -> dict[str, Any] | None:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _explanation(payload: bytes, key: str) -> tuple[str, str]:
    """Return the server's error code and its words, shortened and without anything that looks like a key."""
    code, words = "", payload.decode("utf-8", "replace")
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        words = "" if "<html" in words.lower() else words
        body = None
    if isinstance(body, dict):
        error = body.get("error", body)
        error = error if isinstance(error, dict) else {"message": error}
        code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
        words = str(error.get("message") or error.get("detail") or "")
    if key:
        words = words.replace(key, "***")
    words = " ".join(_KEY_LIKE.sub("***", words).split())[:_QUOTE].rstrip(". ")
    return code, f": {words}" if words else ""
