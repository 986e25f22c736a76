"""LiteLLMTransport: a hundred providers by way of litellm, for breadth and not for speed.

Its retries, telemetry, price download and remarks are off; what it raises is told as the status that the provider sent.
"""

import os
import re
import warnings
from typing import Any

import openai
import orjson

from promptopt.backends.endpoint import Endpoint
from promptopt.backends.openai import chain, explain
from promptopt.backends.transport import Response
from promptopt.backends.wire import MalformedError
from promptopt.errors import ConfigError, FatalBackendError

# Fields that promptopt sends of its own accord and that a provider may not know; the user's own are never dropped.
_OPTIONAL = ("temperature", "seed", "stop")
_CODES = {
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_policy_violation",
}
_BELOW = ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "socket", "ssl")
_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception)(?::| -) (?:litellm\.)?)*")
_NO_KEY = re.compile(r"missing (\w+ )*(credentials|key)|no key is set", re.I)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_SECRET_LENGTH = 8
_QUOTE = 300


class LiteLLMTransport:
    """Makes each attempt with ``litellm.acompletion``.

    Args:
        endpoint: What is to be reached; without a base URL litellm finds server and key by the model's name.

    Raises:
        ConfigError: litellm knows no provider for the model.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._litellm = _import()
        self._endpoint = endpoint
        # No timeout: litellm would keep a client for each value, and the pace ends what is overdue.
        self._given: dict[str, Any] = {"max_retries": 0, "num_retries": 0}
        if endpoint.url:
            # Never None, or litellm would send the key of its own choice there.
            self._given |= {"api_base": endpoint.url, "api_key": endpoint.key or "none"}
        elif endpoint.key:
            self._given["api_key"] = endpoint.key
        self._dropped = self._unknown_fields()
        self._secrets = _secrets(endpoint.key)

    async def open(self) -> None:
        """Do nothing; litellm opens what it needs with the first call."""

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Make one attempt; see ``Transport.send``."""
        del method
        if path != "/chat/completions" or body is None:
            return Response(404, b"")
        fields = {name: value for name, value in orjson.loads(body).items() if name not in self._dropped}
        try:
            answer = await self._litellm.acompletion(**{**fields, **self._given})
        except openai.OpenAIError as error:  # the root of all that litellm raises
            return self._failure(error)
        return Response(200, answer.model_dump_json(warnings=False).encode())

    async def close(self) -> None:
        """Close the connections that litellm has opened on this loop."""
        cache = self._litellm.in_memory_llm_clients_cache
        here = cache.update_cache_key_with_event_loop("")
        for key in [key for key in cache.cache_dict if here and key.endswith(here)]:
            client = cache.cache_dict.pop(key)
            if hasattr(client, "close"):
                await client.close()

    def _unknown_fields(self) -> frozenset[str]:
        """Return the optional fields that the provider does not take."""
        try:
            model, provider, *_ = self._litellm.get_llm_provider(self._endpoint.model)
        except self._litellm.BadRequestError:
            raise ConfigError(
                f"litellm knows no provider for '{self._endpoint.model}'; write litellm:PROVIDER/MODEL, such as "
                "litellm:anthropic/claude-sonnet-4-5."
            ) from None
        known = self._litellm.get_supported_openai_params(model, provider)
        return frozenset(_OPTIONAL).difference(known or _OPTIONAL)

    def _failure(self, error: Any) -> Response:
        """Return what the provider must have said, from what litellm made of it.

        Raises:
            TransientError: Nothing came back, or nothing that litellm could read.
            FatalBackendError: litellm found no key, and sent nothing.
        """
        causes = chain(error)
        answered = any(type(cause).__name__ == "HTTPStatusError" for cause in causes)
        if not answered and any(_is_of_transport(cause) for cause in causes):
            raise explain(error, self._endpoint) from None
        status, said = int(getattr(error, "status_code", 500)), self._words(error)
        if not answered and (status == 401 or _NO_KEY.search(said["message"])):
            raise FatalBackendError(f"{self._endpoint.address}: {said['message'][:_QUOTE]}")
        if not answered and status in (200, 500):
            raise MalformedError(f"gave litellm an answer that it cannot read: {said['message'][:_QUOTE]}")
        said["code"] = f"{said.get('code') or ''} {_CODES.get(type(error).__name__, '')}"
        headers = getattr(error, "litellm_response_headers", None) or {}
        return Response(status, orjson.dumps({"error": said}), headers.get("retry-after"))

    def _words(self, error: Any) -> dict[str, Any]:
        """Return the provider's error object, or one with litellm's words, without secrets."""
        body = getattr(error, "body", None)
        message = _PREFIX.sub("", str(error))
        said = body if isinstance(body, dict) else _embedded(message)
        message = str(said.get("message") or message.partition("\n")[0])
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return {"message": message, "code": said.get("code"), "type": said.get("type")}


def _embedded(message: str) -> dict[str, Any]:
    """Return the error object that a message quotes as JSON, if it does."""
    try:
        quoted = orjson.loads(message[message.index("{") : message.rindex("}") + 1])
    except ValueError:
        return {}
    error = quoted.get("error")
    return error if isinstance(error, dict) else {}


def _is_of_transport(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _BELOW


def _import() -> Any:
    """Return litellm, loaded without a look at the network or at a file of keys in the working directory."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    # For good, since litellm imports much of itself at the first call of a provider.
    warnings.filterwarnings("ignore", module=r"litellm\b|pydantic\b")
    # It makes the coroutine of a call in another thread, and leaves it when the call is cancelled meanwhile.
    warnings.filterwarnings("ignore", r"coroutine '.*acompletion' was never awaited", RuntimeWarning)
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _secrets(key: str) -> list[str]:
    """Return what must not be shown, since a provider may quote its key: this one and those of the environment."""
    found = [key, *(value for name, value in os.environ.items() if _SECRET_NAME.search(name.upper()))]
    return sorted((value for value in found if len(value) >= _SECRET_LENGTH), key=len, reverse=True)
