"""Dialect: how requests to one model are worded and its answers read.

Reasoning models want other fields than most and may think aloud; a user may add fields of the API to every request.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson

from promptopt.errors import ConfigError
from promptopt.ids import canonical_json

# What promptopt decides for itself, and what would go round its budget, its retries or its care for keys.
_OWN = frozenset(
    {
        "model", "messages", "prompt", "temperature", "seed", "stop", "stream", "stream_options", "n", "best_of",
        "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "api_base", "base_url", "timeout",
        "max_retries", "num_retries", "fallbacks", "headers", "extra_headers", "extra_body",
        "extra_query",
    }
)  # fmt: skip
_SECRET = re.compile(r"(api|access|private)_?key|secret|password|credential|_token$|authori[sz]ation", re.I)
_EXAMPLE = """'{"response_format": {"type": "json_object"}}'"""

# OpenAI's families that refuse a temperature; their chat variants are models as others are.
_REASONING = re.compile(r"^(o[1-9]|gpt-[5-9])(?![a-z0-9])(?!.*chat)", re.I)
_THOUGHT = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
_OPEN, _SHUT = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The wording of requests to one model and the reading of its answers.

    Args:
        reasoning: The model takes ``max_completion_tokens`` in place of ``max_tokens``, no temperature and no stop.
        cuts: Think blocks are cut from its answers.
        may_switch: It turns to ``reasoning`` if the server refuses one of those fields.
        extra: Fields of the API that go into every request.
        key: What of all this was set by the user and decides what the model says, as plain data.
    """

    reasoning: bool = False
    cuts: bool = True
    may_switch: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    key: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, reasoning: str = "auto", body: str = "") -> Self:
        """Return the dialect of a model.

        Args:
            model: Its name, which tells OpenAI's reasoning models.
            reasoning: ``true``; ``false``, which also leaves think blocks in; or ``auto``, by name and by what the
                server refuses.
            body: A JSON object whose fields go into every request, or nothing.

        Raises:
            ConfigError: The choice is none of the three, or the body is no object or sets what promptopt sets itself.
        """
        chosen = reasoning.lower()
        if chosen not in ("true", "false", "auto"):
            raise ConfigError(f"reasoning = {reasoning!r} must be true, false or auto.")
        by_name = bool(_REASONING.match(model.rpartition("/")[2]))
        extra = _read_body(body)
        key = () if chosen == "auto" else (f"reasoning={chosen}",)
        return cls(
            reasoning=chosen == "true" or (chosen == "auto" and by_name),
            cuts=chosen != "false",
            may_switch=chosen == "auto" and not by_name,
            extra=extra,
            key=(*key, canonical_json(extra)) if extra else key,
        )

    def switched(self) -> Self:
        """Return the dialect after the server refused a field that reasoning models do not take."""
        return replace(self, reasoning=True, may_switch=False)


def cut_thinking(text: str) -> tuple[str, bool]:
    """Return what a model says after thinking aloud, and whether it came to no end of that.

    The opening tag may be missing, since some templates put it into the prompt.
    """
    if "think>" not in text:
        return text, False
    thoughts, shut, rest = text.partition(_SHUT)
    if shut and _OPEN not in thoughts:
        text = rest.lstrip()
    while thought := _THOUGHT.match(text):
        text = text[thought.end() :]
    return ("", True) if text.lstrip().startswith(_OPEN) else (text, False)


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """Return the text up to the first of the strings that end an answer."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _read_body(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise ConfigError(f"body must be a JSON object such as {_EXAMPLE}.")
    for name in body:
        if name in _OWN:
            raise ConfigError(f"body: '{name}' is set by promptopt itself; leave it out.")
        if _SECRET.search(name):
            raise ConfigError(f"body: '{name}' looks like a secret, and settings are stored; use the environment.")
    return body
